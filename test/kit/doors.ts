// A whole broker in this process, doors, threads and all, with a store in memory: for tests of the doors that need
// no process of their own. Configured as its users configure it; what it logs is kept.

import { Broker } from "../../broker/broker.ts"
import { loadConfig } from "../../broker/config.ts"
import { realWorld } from "../../broker/world.ts"
import type { LogRecord } from "./world.ts"

export interface OpenDoors {
  readonly broker: Broker
  readonly port: number
  readonly tcpPort: number | null
  readonly records: readonly LogRecord[]
  /** What made it give up, one entry each. */
  readonly fatal: readonly string[]
  close(): Promise<void>
}

/** Starts a broker with these options as environment, on free ports; resolves once programs are let in. */
export async function openDoors(environment: Readonly<Record<string, string>> = {}): Promise<OpenDoors> {
  const records: LogRecord[] = []
  const fatal: string[] = []
  const config = loadConfig({
    environment: {
      FITZ_HTTP_PORT: "0",
      FITZ_STORAGE_MODE: "memory",
      FITZ_DRAIN_GRACE_SECONDS: "0",
      FITZ_AUTH_REQUIRED: "false",
      ...environment,
    },
    flags: {},
    file: null,
  })
  const broker = await Broker.start({
    config,
    world: realWorld((level, message, fields = {}) => records.push({ level, message, fields })),
    version: "9.8.7",
    developmentSecret: null,
    onFatal: reason => fatal.push(reason),
  })
  return {
    broker,
    port: broker.address.port,
    tcpPort: broker.tcpAddress?.port ?? null,
    records,
    fatal,
    close: () => broker.drain(),
  }
}
