// The first thing `npm test` does: begins building the cluster's program in the background, minutes of work that types, lint
// and quick tests need not wait for.

import { beginBuild } from "./kit/machine.ts"

beginBuild()
