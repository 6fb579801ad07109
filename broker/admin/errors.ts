// Errors of the HTTP surface: a closed list of codes, each with its status, and the body they travel in
// (docs/PROTOCOL.md, H-2). A message is for people and holds neither a credential nor a stack trace.

import type { Refused } from "../domains/views/common.ts"

export const REASONS: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  412: "Precondition Failed",
  413: "Payload Too Large",
  415: "Unsupported Media Type",
  426: "Upgrade Required",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
}

export const STATUS_OF = {
  invalid_parameter: 400,
  missing_family: 400,
  invalid_family: 400,
  confirmation_required: 400,
  realm_mismatch: 400,
  invalid_cron: 400,
  invalid_payload: 400,
  invalid_body: 400,
  invalid_request: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  family_not_provisioned: 404,
  method_not_allowed: 405,
  ambiguous_target: 409,
  realm_not_declared: 409,
  definition_limit: 409,
  precondition_failed: 412,
  body_too_large: 413,
  unsupported_media_type: 415,
  upgrade_required: 426,
  rate_limited: 429,
  internal: 500,
  not_ready: 503,
  shutting_down: 503,
  admin_timeout: 503,
  unavailable: 503,
} as const

export type ErrorCode = keyof typeof STATUS_OF

/** Body of every error that is not a probe's. */
export interface HttpErrorBody {
  readonly error: string
  readonly code: string
  readonly message: string
  readonly request_id: string
}

export function errorBody(status: number, code: string, message: string, requestId: string): HttpErrorBody {
  return { error: REASONS[status] ?? "Error", code, message, request_id: requestId }
}

/** Did a lane refuse? */
export function isRefused(answer: unknown): answer is Refused {
  return typeof answer === "object" && answer !== null && "refused" in answer
}

/** Ends the handling of a request with a refusal. */
export class Refusal extends Error {
  override readonly name = "Refusal"
  readonly code: ErrorCode
  readonly headers: Readonly<Record<string, string>>

  constructor(code: ErrorCode, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message)
    this.code = code
    this.headers = headers
  }

  get status(): number {
    return STATUS_OF[this.code]
  }
}
