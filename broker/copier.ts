// The thread that copies the write-ahead log into the database, so that commits need not wait for it. Started
// by broker/broker.ts when the log first has something worth copying, and never imported.

import { workerData } from "node:worker_threads"
import { copyWhenAsked } from "./storage/checkpoint.ts"
import { Checkpointer } from "./storage/database.ts"

const { folder, cells } = workerData as { readonly folder: string; readonly cells: SharedArrayBuffer }
copyWhenAsked(Checkpointer.open(folder), new Int32Array(cells))
