// All columns of vectors. Whoever adds a domain adds it here; nothing else stands here, so that the list is
// read at one glance.

import type { Column } from "../kit/vectors.ts"
import { kv } from "./kv.ts"
import { lease } from "./lease.ts"
import { notice } from "./notice.ts"
import { queue } from "./queue.ts"
import { rpc } from "./rpc.ts"
import { schedule } from "./schedule.ts"
import { stream } from "./stream.ts"

export const COLUMNS: readonly Column[] = [kv, queue, rpc, lease, notice, stream, schedule]
