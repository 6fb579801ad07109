// The formats of the store, in order. A number here is the file's `user_version`; scripts that have been
// released are never changed.

import { initial } from "./0001-initial.ts"
import { definitions } from "./0002-definitions.ts"

export const migrations: readonly string[] = [initial, definitions]
