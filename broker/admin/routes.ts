// The table of the admin API: the rows of all cells, one file each.
// Must never hold a row itself.

import { insightRoutes } from "./insight.ts"
import { kvRoutes } from "./kv.ts"
import { leaseRoutes } from "./lease.ts"
import { noticeRoutes } from "./notice.ts"
import { queueRoutes } from "./queue.ts"
import { realmRoutes } from "./realms.ts"
import type { Route } from "./route.ts"
import { rpcRoutes } from "./rpc.ts"
import { runtimeRoutes } from "./runtime.ts"
import { scheduleRoutes } from "./schedule.ts"
import { sessionRoutes } from "./sessions.ts"
import { statsRoutes } from "./stats.ts"
import { streamRoutes } from "./stream.ts"
import { whoamiRoutes } from "./whoami.ts"

export const ROUTES: readonly Route[] = [
  ...statsRoutes,
  ...kvRoutes,
  ...streamRoutes,
  ...noticeRoutes,
  ...queueRoutes,
  ...rpcRoutes,
  ...leaseRoutes,
  ...scheduleRoutes,
  ...sessionRoutes,
  ...realmRoutes,
  ...insightRoutes,
  ...runtimeRoutes,
  ...whoamiRoutes,
]
