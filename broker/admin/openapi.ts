// The OpenAPI 3.1 document of the admin API, made from the same table that requests are judged by.
// Must never say of a route what the table does not.

import { z } from "zod"
import { STATUS_OF } from "./errors.ts"
import { canonicalOf, type Route } from "./route.ts"

type Json = Record<string, unknown>

function schemaOf(schema: z.ZodType): Json {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: "output", unrepresentable: "any" }) as Json
  return rest
}

/** An example of a schema, from the examples of its parts. */
export function exampleOf(schema: Json): unknown {
  if ("example" in schema) return schema["example"]
  if ("const" in schema) return schema["const"]
  const choices = schema["enum"] ?? schema["anyOf"]
  if (Array.isArray(choices)) {
    const [first] = choices as unknown[]
    return schema["enum"] === undefined ? exampleOf(first as Json) : first
  }
  switch (schema["type"]) {
    case "object": {
      const properties = (schema["properties"] ?? {}) as Record<string, Json>
      return Object.fromEntries(Object.entries(properties).map(([name, part]) => [name, exampleOf(part)]))
    }
    case "array":
      return [exampleOf((schema["items"] ?? {}) as Json)]
    case "string":
      return "text"
    case "integer":
    case "number":
      return 1
    case "boolean":
      return true
    default:
      return null
  }
}

const ERROR = z.strictObject({
  error: z.string().meta({ example: "Not Found" }),
  code: z.enum(Object.keys(STATUS_OF) as [keyof typeof STATUS_OF]),
  message: z.string().meta({ example: "there is nothing at this path" }),
  request_id: z.string().meta({ example: "b0a7ff0e-5b8e-4a52-9f43-1f0f4f6a8a11" }),
})

function parameter(
  where: "query" | "header" | "path",
  name: string,
  schema: Json,
  required: boolean,
  description: string,
): Json {
  return { name, in: where, required, description, schema }
}

function parametersOf(row: Route): Json[] {
  const found: Json[] = row.segments
    .filter(segment => segment.startsWith("{"))
    .map(segment =>
      parameter(
        "path",
        segment.slice(1, -1),
        PARAMETERS[segment.slice(1, -1)] ?? { type: "string", minLength: 1 },
        true,
        "Percent-encoded once.",
      ),
    )
  const inPath = row.path.includes("{realm}")
  if (row.realmFilter === true || inPath) {
    found.push(
      parameter(
        "query",
        "realm",
        { type: "string" },
        false,
        inPath ? "The realm of the path." : "Rows of exactly this realm.",
      ),
    )
  }
  if (row.family !== undefined) {
    const schema = { type: "integer", minimum: 1, maximum: 4_294_967_295 }
    found.push(parameter("query", "family", schema, row.family === "required", "Route family."))
  }
  if (row.list === true) {
    found.push(
      parameter(
        "query",
        "limit",
        { type: "integer", minimum: 1, default: 100 },
        false,
        "Values above 1000 are lowered to 1000.",
      ),
    )
    found.push(
      parameter("query", "offset", { type: "integer", minimum: 0, default: 0 }, false, "Rows to leave out."),
    )
  }
  if (row.diagnostics === true) {
    found.push(
      parameter("query", "include", { type: "string", enum: ["diagnostics"] }, false, "Adds a verdict."),
    )
  }
  if (row.query !== undefined) {
    const { properties, required } = z.toJSONSchema(row.query, { io: "input", unrepresentable: "any" }) as {
      properties?: Record<string, Json>
      required?: string[]
    }
    for (const [name, schema] of Object.entries(properties ?? {}))
      found.push(parameter("query", name, schema, required?.includes(name) === true, "Further filter."))
  }
  if (row.confirm !== undefined) {
    const needed = row.confirm === "always"
    found.push(
      parameter(
        "header",
        "X-Confirm",
        { type: "string", enum: ["true"] },
        needed,
        needed ? "Has to be true." : "Has to be true in strict mode.",
      ),
    )
  }
  if (row.method === "PUT" || row.method === "DELETE") {
    found.push(
      parameter("header", "X-Reason", { type: "string", maxLength: 256 }, false, "Lands in the audit."),
    )
  }
  return found
}

const PARAMETERS: Readonly<Record<string, Json>> = {
  tx_id: { type: "integer", minimum: 0 },
  subscription_id: { type: "integer", minimum: 0 },
  message_id: { type: "integer", minimum: 0 },
  correlation_id: { type: "string", pattern: "^[0-9a-f]{32}$" },
  session_id: { type: "string", pattern: "^sess_[0-9]+$" },
}

function operationOf(row: Route): Json {
  const responses: Record<string, Json> = {}
  for (const [status, schema] of Object.entries(row.answers)) {
    if (schema === null) responses[status] = { description: status === "304" ? "Unchanged." : "Done." }
    else {
      const shape = schemaOf(schema)
      responses[status] = {
        description: "The answer.",
        content: { "application/json": { schema: shape, example: exampleOf(shape) } },
      }
    }
  }
  responses["default"] = { $ref: "#/components/responses/Error" }
  return {
    operationId: `${row.method.toLowerCase()} ${canonicalOf(row).slice(8)}`
      .replaceAll(/[^A-Za-z]+/g, "_")
      .replace(/_$/, ""),
    summary: row.about,
    tags: [row.segments[0]!],
    parameters: parametersOf(row),
    ...(row.body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: {
              "application/json": {
                schema: (() => {
                  const { $schema: _, ...rest } = z.toJSONSchema(row.body, {
                    io: "input",
                    unrepresentable: "any",
                  }) as Json
                  return rest
                })(),
              },
            },
          },
        }),
    responses,
    security: [{ bearer: [] }, { apiKey: [] }],
    "x-permission":
      row.permission === "data" ? "data:read" : row.permission === "any" ? "any" : `admin:${row.permission}`,
  }
}

export function openApiOf(routes: readonly Route[], version: string): object {
  const paths: Record<string, Record<string, Json>> = {}
  for (const row of routes) {
    const path = canonicalOf(row)
    paths[path] ??= {}
    paths[path][row.method.toLowerCase()] = operationOf(row)
  }
  const error = schemaOf(ERROR)
  return {
    openapi: "3.1.0",
    info: {
      title: "Fitz admin API",
      version,
      description:
        "What one broker process holds and does. Each path is also served below /api/v1/admin/ and /admin/, with equal bodies.",
    },
    servers: [{ url: "/" }],
    paths,
    components: {
      securitySchemes: {
        bearer: { type: "http", scheme: "bearer" },
        apiKey: { type: "apiKey", in: "header", name: "X-API-Key" },
      },
      responses: {
        Error: {
          description: "A refusal.",
          content: { "application/json": { schema: error, example: exampleOf(error) } },
        },
      },
    },
  }
}
