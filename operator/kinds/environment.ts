// The names of all environment variables that the operator sets on a broker (operator.md §4.4). Users may not
// set them through pod.extraEnv; the plan may set no other. A test holds them against the broker's options.

export const BROKER_ENVIRONMENT = [
  "FITZ_HTTP_PORT",
  "FITZ_BIND_ADDR",
  "FITZ_STORAGE_MODE",
  "FITZ_STORAGE_PATH",
  "FITZ_LOG_LEVEL",
  "FITZ_AUTH_REQUIRED",
  "FITZ_JWT_AUDIENCE",
  "FITZ_JWT_IDENTITY_CLAIM",
  "FITZ_BROKER_UID",
  "FITZ_JWT_JWKS_FILE",
  "FITZ_JWT_HMAC_SECRET_FILE",
  "FITZ_JWT_CLIENT_JWKS_FILE",
  "FITZ_JWT_CLIENT_ALLOW_ADMIN",
  "FITZ_API_KEYS_FILE",
  "FITZ_ROUTE_FAMILIES",
  "FITZ_ROUTE_FAMILY_MAP_FILE",
  "FITZ_METRICS_PERMISSION",
  "FITZ_ADMIN_AUTH_MODE",
  "FITZ_REALMS_DECLARED_ONLY",
  "FITZ_WS_ALLOWED_ORIGINS",
  "FITZ_DRAIN_SECONDS",
  "NODE_OPTIONS",
] as const

export type BrokerVariable = (typeof BROKER_ENVIRONMENT)[number]

/** What users may not set either: these would blind the kubelet's probes. */
export const FORBIDDEN_ENVIRONMENT = [...BROKER_ENVIRONMENT, "FITZ_PROBE_AUTH", "TOPICS_PROBE_AUTH"] as const
