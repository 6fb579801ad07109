// The log: JSON lines or text on standard output, through pino. Whoever writes a record names its fields;
// tokens, secrets and payloads are never among them.

import { type DestinationStream, pino } from "pino"
import type { Log, LogLevel } from "./world.ts"

export interface LogOptions {
  readonly level: LogLevel | "trace" | "fatal" | "silent"
  readonly format: "json" | "text"
}

/** A log as configured. Text is for people at a terminal; its library is loaded only then. */
export async function openLog({ level, format }: LogOptions): Promise<Log> {
  const destination: DestinationStream =
    format === "text"
      ? (await import("pino-pretty")).default({
          colorize: process.stdout.isTTY,
          ignore: "pid,hostname",
          sync: true,
        })
      : pino.destination({ fd: 1, sync: true })
  const logger = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      // By name: the library's own numbers mean nothing to whoever collects logs.
      formatters: { level: label => ({ level: label }) },
    },
    destination,
  )
  return (level, message, fields) => logger[level](fields ?? {}, message)
}
