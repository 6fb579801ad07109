// The rights the operator needs (operator.md §9), as data: one row per rule and the modes it belongs to.
// Charts and tests print roles from here; no right is written down anywhere else.

export type Mode = "cluster" | "list" | "single"
export interface Right {
  readonly groups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
  /** Where the right is held: with the brokers, in the operator's own namespace, or on the whole cluster. */
  readonly where: "brokers" | "operator" | "cluster"
  /** Only this object. */
  readonly names?: readonly string[]
  /** Held in a role of its own, which users bind where they want it. */
  readonly secrets?: true
}

const ALL = ["get", "list", "watch", "create", "patch", "delete"]

export const RIGHTS: readonly Right[] = [
  { groups: ["fitz.dev"], resources: ["fitzbrokers"], verbs: ["get", "list", "watch"], where: "brokers" },
  {
    groups: ["fitz.dev"],
    resources: ["fitzrealms", "fitzschedules"],
    verbs: ["get", "list", "watch", "patch"],
    where: "brokers",
  },
  {
    groups: ["fitz.dev"],
    resources: ["fitzbrokers/status", "fitzrealms/status", "fitzschedules/status"],
    verbs: ["patch"],
    where: "brokers",
  },
  { groups: ["fitz.dev"], resources: ["fitzbrokers/finalizers"], verbs: ["update"], where: "brokers" },
  { groups: ["apps"], resources: ["statefulsets"], verbs: ALL, where: "brokers" },
  { groups: [""], resources: ["services", "configmaps", "serviceaccounts"], verbs: ALL, where: "brokers" },
  { groups: ["policy"], resources: ["poddisruptionbudgets"], verbs: ALL, where: "brokers" },
  { groups: ["networking.k8s.io"], resources: ["networkpolicies"], verbs: ALL, where: "brokers" },
  {
    groups: ["monitoring.coreos.com"],
    resources: ["servicemonitors", "prometheusrules"],
    verbs: ALL,
    where: "brokers",
  },
  {
    groups: [""],
    resources: ["persistentvolumeclaims"],
    verbs: ["get", "list", "watch", "create", "patch"],
    where: "brokers",
  },
  {
    groups: [""],
    resources: ["secrets"],
    verbs: ["get", "create", "patch"],
    where: "brokers",
    secrets: true,
  },
  { groups: [""], resources: ["pods"], verbs: ["get", "list", "watch", "delete"], where: "brokers" },
  { groups: ["events.k8s.io"], resources: ["events"], verbs: ["create", "patch"], where: "brokers" },
  {
    groups: ["coordination.k8s.io"],
    resources: ["leases"],
    verbs: ["get", "create", "patch"],
    where: "operator",
  },
  { groups: [""], resources: ["secrets"], verbs: ["get", "create", "patch"], where: "operator" },
  { groups: [""], resources: ["namespaces"], verbs: ["get", "list", "watch"], where: "cluster" },
  { groups: ["storage.k8s.io"], resources: ["storageclasses"], verbs: ["get"], where: "cluster" },
]

export interface PolicyRule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly verbs: readonly string[]
  readonly resourceNames?: readonly string[]
}

/** The rules of the role of that place in that mode. */
export function rules(mode: Mode, where: Right["where"], secrets = true): PolicyRule[] {
  if (where === "cluster" && mode !== "cluster") return []
  return RIGHTS.filter(right => right.where === where && (secrets || right.secrets !== true)).map(right => ({
    apiGroups: right.groups,
    resources: right.resources,
    verbs: right.verbs,
    ...(right.names === undefined ? {} : { resourceNames: right.names }),
  }))
}

const OWN = "fitz-operator"

/** All objects of a mode, for an operator that runs in `namespace` as service account fitz-operator. */
export function roles(
  mode: Mode,
  namespace: string,
  watched: readonly string[],
  secretsScope: "cluster" | "bound" = "cluster",
): Record<string, unknown>[] {
  const subjects = [{ kind: "ServiceAccount", name: OWN, namespace }]
  const bind = (kind: "Role" | "ClusterRole", name: string, into?: string): Record<string, unknown> => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: into === undefined ? "ClusterRoleBinding" : "RoleBinding",
    metadata: { name, ...(into === undefined ? {} : { namespace: into }) },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind, name },
    subjects,
  })
  const role = (
    kind: "Role" | "ClusterRole",
    name: string,
    held: readonly PolicyRule[],
    into?: string,
  ): Record<string, unknown> => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind,
    metadata: { name, ...(into === undefined ? {} : { namespace: into }) },
    rules: held,
  })
  const out = [
    role("Role", `${OWN}-own`, rules(mode, "operator"), namespace),
    bind("Role", `${OWN}-own`, namespace),
  ]
  if (mode === "cluster") {
    const wide = secretsScope === "cluster"
    out.push(
      role("ClusterRole", OWN, [...rules(mode, "brokers", wide), ...rules(mode, "cluster")]),
      bind("ClusterRole", OWN),
    )
    if (!wide)
      out.push(
        role(
          "ClusterRole",
          `${OWN}-secrets`,
          rules(mode, "brokers").filter(rule => rule.resources.includes("secrets")),
        ),
      )
    out.push(...aggregated())
    return out
  }
  for (const into of mode === "single" ? [namespace] : watched)
    out.push(role("Role", OWN, rules(mode, "brokers"), into), bind("Role", OWN, into))
  return out
}

function aggregated(): Record<string, unknown>[] {
  const resources = ["fitzbrokers", "fitzrealms", "fitzschedules"]
  const read = ["get", "list", "watch"]
  const write = ["create", "update", "patch", "delete", "deletecollection"]
  const one = (name: string, into: readonly string[], held: PolicyRule[]): Record<string, unknown> => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: {
      name,
      labels: Object.fromEntries(into.map(to => [`rbac.authorization.k8s.io/aggregate-to-${to}`, "true"])),
    },
    rules: held,
  })
  const viewing = { apiGroups: ["fitz.dev"], resources: [...resources], verbs: read }
  const status = {
    apiGroups: ["fitz.dev"],
    resources: resources.map(name => `${name}/status`),
    verbs: ["get"],
  }
  const scaling = {
    apiGroups: ["fitz.dev"],
    resources: ["fitzbrokers/scale"],
    verbs: ["get", "update", "patch"],
  }
  return [
    one("fitz-viewer", ["view"], [viewing, status]),
    one("fitz-editor", ["edit"], [{ ...viewing, verbs: [...read, ...write] }, status, scaling]),
    one("fitz-admin", ["admin"], [{ ...viewing, verbs: ["*"] }, status, scaling]),
  ]
}
