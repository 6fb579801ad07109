// FitzBroker: one broker, its volume, keys, address and monitoring (operator.md §2.1, §3). The schema is the
// only source of the CRD, the field reference and the defaults; it decides nothing.

import { z } from "zod"
import { FORBIDDEN_ENVIRONMENT } from "./environment.ts"
import { between, duration, list, map, opaque, quantity, type Rule, say, text, whole } from "./schema.ts"
import { conditions } from "./status.ts"

export const BROKER_ROOT_RULES: readonly Rule[] = [
  {
    id: "B-01",
    rule: "size(self.metadata.name) <= 52 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    message: "the name must be a DNS label that begins with a letter, of at most 52 characters",
  },
]

const named = z.object({ name: say(text(253, 1), "Name of the Secret.") })

const labelSelector = z.object({
  matchLabels: say(map().optional(), "Labels that must all be there, with these values."),
  matchExpressions: say(
    list(
      z.object({
        key: say(text(317, 1), "Label that the requirement speaks of."),
        operator: say(
          z.enum(["In", "NotIn", "Exists", "DoesNotExist"]),
          "How the label's value is compared with values.",
        ),
        values: say(list(text(63)).optional(), "Values for In and NotIn."),
      }),
    ).optional(),
    "Requirements that must all be met.",
  ),
})
export type LabelSelector = z.output<typeof labelSelector>

const storage = z.object({
  size: quantity(
    "Size of the volume. Raising it grows the volume online; a size never granted can be lowered again.",
    [
      {
        id: "B-04",
        rule: "isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('256Mi')) >= 0",
        message: "must be a quantity of at least 256Mi",
      },
    ],
  ).optional(),
  storageClassName: say(
    text().optional(),
    "Class of the volume; without it the cluster's default. Cannot change.",
  ),
  accessMode: say(
    z.enum(["ReadWriteOncePod", "ReadWriteOnce"]).default("ReadWriteOncePod"),
    "ReadWriteOncePod keeps a second writer out; ReadWriteOnce is for storage drivers without it. Cannot change.",
  ),
  existingClaim: say(
    text().optional(),
    "Mounts this claim instead of making one, for instance to bring the data of a deleted broker back. It is never labelled, owned or deleted by the operator. Can be set once.",
  ),
  reclaimPolicy: say(
    z.enum(["Retain", "Delete"]).default("Retain"),
    "Whether the claim goes with the broker. Retain keeps the data when the FitzBroker is deleted.",
  ),
})

const cpuAndMemory = (cpu: string, memory: string) => ({
  cpu: quantity("Processor time, for instance 500m or 2.").default(cpu),
  memory: quantity("Memory, for instance 512Mi.").default(memory),
  "ephemeral-storage": quantity("Space for logs and temporary files.").optional(),
})

const requestWithinLimit = (resource: "cpu" | "memory"): Rule => ({
  id: "B-09",
  rule:
    `!has(self.requests) || !has(self.limits) || !has(self.requests.${resource}) || !has(self.limits.${resource}) || ` +
    `quantity(string(self.requests.${resource})).compareTo(quantity(string(self.limits.${resource}))) <= 0`,
  message: `the request for ${resource} must not exceed its limit`,
})

const auth = z.object({
  clients: say(
    z.enum(["Required", "None"]).default("Required"),
    "None lets programs in without a token. The admin API and the metrics stay closed.",
  ),
  existingSecret: say(
    z
      .object({
        name: say(text(253, 1), "Name of the Secret, in the broker's namespace."),
        key: say(text(253, 1), "Key in that Secret: the shared secret, or a public JWKS document."),
        type: say(z.enum(["HS256", "JWKS"]), "What the key holds."),
        allowAdmin: say(
          z.boolean().default(false),
          "Whether admin permissions in these tokens count. With a shared secret, everybody who holds it could make himself administrator.",
        ),
      })
      .optional(),
    {
      about:
        "Client tokens are verified with this Secret instead of the generated keys. The operator never writes, owns or deletes it.",
      absence: true,
    },
  ),
  algorithm: say(
    z.enum(["ES256", "RS256"]).default("ES256"),
    "Algorithm of the generated keys. A change starts a rotation.",
  ),
  audience: say(text(128, 1).default("fitz"), "Audience that client tokens must name."),
  maxTokenTTL: say(duration().default("24h"), {
    about: "Longest life that issuers give to client tokens. It bounds how early an old key may be retired.",
    rules: [between("B-10", "1m", "720h")],
  }),
  rotation: say(
    z
      .object({
        mode: say(
          z.enum(["Automatic", "Manual"]).default("Automatic"),
          "Manual rotates only on the annotation fitz.dev/rotate-keys.",
        ),
        interval: say(duration().default("2160h"), "Age at which a key is replaced."),
        overlap: say(duration().default("168h"), "How long the old key stays accepted beside the new one."),
      })
      .prefault({}),
    "When the generated keys are replaced.",
  ),
  identities: say(
    list(
      z.object({
        name: say(text(128, 1), "Value of the identity claim."),
        family: say(whole(1, 4_294_967_295), "Route family of tokens with that value."),
      }),
      256,
    ).default([]),
    {
      about:
        "Which route family a token belongs to. Empty: every token is family 1; otherwise tokens that are not listed are refused.",
      keys: ["name"],
    },
  ),
  identityClaim: say(text(64, 1).default("tid"), "Claim that names a token's identity."),
  apiKeysSecret: say(
    z
      .object({
        name: say(text(253, 1), "Name of the Secret, in the broker's namespace."),
        key: say(text(253, 1).default("keys.json"), "Key in that Secret."),
      })
      .optional(),
    { about: "Admin API keys for people and tools, as digests.", absence: true },
  ),
})

const topology = z.object({
  allowedNamespaces: say(
    z
      .object({
        from: say(
          z.enum(["Same", "All", "List", "Selector"]).default("Same"),
          "Same: the broker's own namespace only. List and Selector add others.",
        ),
        names: say(list(text(63, 1), 64).optional(), "Namespaces, for List."),
        selector: say(labelSelector.optional(), "Labels of namespaces, for Selector."),
      })
      .prefault({}),
    {
      about:
        "From which namespaces realms and schedules may be declared here. The grant is on this side only.",
      rules: [
        {
          id: "B-13",
          rule: "(self.from == 'List') == has(self.names) && (self.from == 'Selector') == has(self.selector)",
          message: "names belongs to List and selector to Selector, each exactly there",
        },
      ],
    },
  ),
  declaredRealmsOnly: say(
    z.boolean().default(false),
    "Refuses sessions and routes of realms that are not declared.",
  ),
  resyncInterval: say(duration().default("60s"), {
    about: "How often the broker's definitions are compared with the declared ones.",
    rules: [between("B-10", "10s", "1h")],
  }),
})

const service = z.object({
  type: say(
    z.enum(["ClusterIP", "NodePort", "LoadBalancer"]).default("ClusterIP"),
    "Type of the client Service.",
  ),
  port: say(whole(1, 65_535).default(8080), "Port of the client Service."),
  nodePort: say(whole(1, 65_535).optional(), "Port on every node, for NodePort and LoadBalancer."),
  externalTrafficPolicy: say(
    z.enum(["Cluster", "Local"]).optional(),
    "Whether traffic from outside may take a second hop, for NodePort and LoadBalancer.",
  ),
  annotations: say(map(32, 4096).default({}), "Annotations of the client Service, for load balancers."),
})
const monitoringMode = say(
  z.enum(["Auto", "Enabled", "Disabled"]).default("Auto"),
  "Auto is silent where the cluster does not know the kind; Enabled reports it.",
)

const monitoring = z.object({
  serviceMonitor: say(
    z
      .object({
        mode: monitoringMode,
        labels: say(map().default({}), "Labels of the ServiceMonitor, as Prometheus selects by them."),
        interval: say(duration().default("30s"), "How often Prometheus scrapes."),
        scrapeTimeout: say(duration().default("10s"), "When Prometheus gives up a scrape."),
        scrapeClass: say(text(253, 1).optional(), "Scrape class of the Prometheus resource."),
      })
      .prefault({}),
    {
      about: "The ServiceMonitor for Prometheus Operator.",
      rules: [
        {
          id: "B-15",
          rule: "duration(self.scrapeTimeout) <= duration(self.interval)",
          message: "scrapeTimeout must not exceed interval",
        },
      ],
    },
  ),
  prometheusRule: say(
    z
      .object({
        mode: monitoringMode,
        labels: say(map().default({}), "Labels of the PrometheusRule, as Prometheus selects by them."),
      })
      .prefault({}),
    "The alerts for Prometheus Operator.",
  ),
  dashboard: say(
    z
      .object({
        mode: monitoringMode,
        labels: say(
          map().default({ grafana_dashboard: "1" }),
          "Labels of the dashboard's ConfigMap, as Grafana's sidecar selects by them.",
        ),
      })
      .prefault({}),
    "The Grafana dashboard, one ConfigMap per broker.",
  ),
})

const peer = z.object({
  ipBlock: say(
    z
      .object({
        cidr: say(text(64, 1), "Range of addresses."),
        except: say(list(text(64, 1)).optional(), "Ranges inside that are left out."),
      })
      .optional(),
    "Addresses.",
  ),
  namespaceSelector: say(labelSelector.optional(), "Namespaces by their labels."),
  podSelector: say(labelSelector.optional(), "Pods by their labels."),
})

const pod = z.object({
  labels: say(map().default({}), {
    about: "Further labels of the pod.",
    rules: [
      {
        id: "B-16",
        rule: "self.all(k, !k.startsWith('fitz.dev/') && !k.startsWith('app.kubernetes.io/'))",
        message: "fitz.dev/ and app.kubernetes.io/ belong to the operator",
      },
    ],
  }),
  annotations: say(map(32, 4096).default({}), {
    about: "Further annotations of the pod.",
    rules: [
      {
        id: "B-16",
        rule: "self.all(k, !k.startsWith('fitz.dev/') && !k.startsWith('app.kubernetes.io/'))",
        message: "fitz.dev/ and app.kubernetes.io/ belong to the operator",
      },
    ],
  }),
  extraEnv: say(
    list(
      z.object({
        name: say(text(253, 1), "Name of the variable."),
        value: say(text(4096), "Its value; never a secret."),
      }),
    ).default([]),
    {
      about: "Broker options that have no field of their own. Plain values only.",
      keys: ["name"],
      rules: [
        {
          id: "B-17",
          rule: `self.all(e, !(e.name in [${FORBIDDEN_ENVIRONMENT.map(name => `'${name}'`).join(", ")}]))`,
          message: "the operator sets this variable itself; use the field that stands for it",
        },
      ],
    },
  ),
  nodeSelector: say(map().default({}), "Labels that the node must have."),
  tolerations: say(
    list(
      z.object({
        key: say(text(317).optional(), "Taint that is tolerated; empty for all."),
        operator: say(z.enum(["Exists", "Equal"]).optional(), "How the taint's value is compared."),
        value: say(text(63).optional(), "Value of the taint, for Equal."),
        effect: say(
          z.enum(["NoSchedule", "PreferNoSchedule", "NoExecute"]).optional(),
          "Effect that is tolerated; empty for all.",
        ),
        tolerationSeconds: say(
          whole(0, 2_147_483_647).optional(),
          "How long a NoExecute taint is tolerated.",
        ),
      }),
    ).default([]),
    "Taints of nodes that the pod tolerates.",
  ),
  affinity: say(opaque().optional(), "Affinity as in a Pod."),
  priorityClassName: say(text(253, 1).optional(), "Priority class of the pod."),
  userPolicy: say(
    z.enum(["Fixed", "Platform"]).default("Fixed"),
    "Platform leaves user, group and fsGroup out, for platforms that assign them.",
  ),
})

export const brokerSpec = say(
  z.object({
    version: say(
      text(64, 1).optional(),
      "Version of the broker, as the tag in the operator's broker repository.",
    ),
    image: say(text(512, 1).optional(), "Full image reference instead of a version; a digest is allowed."),
    imagePullPolicy: say(
      z.enum(["Always", "IfNotPresent", "Never"]).default("IfNotPresent"),
      "When the node pulls the image.",
    ),
    imagePullSecrets: say(list(named, 8).default([]), {
      about: "Secrets for pulling the image.",
      keys: ["name"],
    }),
    logLevel: say(
      z.enum(["trace", "debug", "info", "warn", "error", "fatal"]).default("info"),
      "Least important records that the broker logs.",
    ),
    replicas: say(whole(0, 1).default(1), "0 stops the broker and keeps its data."),
    paused: say(
      z.boolean().default(false),
      "Keeps the operator from changing anything but status and the metrics token.",
    ),
    storage: say(storage, {
      about: "The volume that holds everything the broker keeps.",
      rules: [
        {
          id: "B-03",
          rule: "has(self.size) || has(self.existingClaim)",
          message: "size is required unless existingClaim names a claim",
        },
        {
          id: "B-05",
          rule: "(has(self.existingClaim) && !has(self.storageClassName)) || (has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName))",
          message: "storageClassName cannot be changed",
        },
        {
          id: "B-06",
          rule: "self.accessMode == oldSelf.accessMode",
          message: "accessMode cannot be changed",
        },
        {
          id: "B-07",
          rule: "!has(oldSelf.existingClaim) || (has(self.existingClaim) && self.existingClaim == oldSelf.existingClaim)",
          message: "existingClaim can be set once and not be changed",
        },
        {
          id: "B-08",
          rule: "!(has(self.existingClaim) && has(self.storageClassName))",
          message: "an existing claim has its class already",
        },
      ],
    }),
    resources: say(
      z
        .object({
          requests: say(
            z.object(cpuAndMemory("500m", "512Mi")).prefault({}),
            "What the scheduler sets aside.",
          ),
          limits: say(
            z.object(cpuAndMemory("2", "2Gi")).prefault({}),
            "What the broker may use at most. The heap limit follows the memory limit.",
          ),
        })
        .prefault({}),
      {
        about: "Processor time and memory of the broker.",
        rules: [requestWithinLimit("cpu"), requestWithinLimit("memory")],
      },
    ),
    auth: say(auth.prefault({}), {
      about: "Who may connect, and with which keys tokens are verified.",
      rules: [
        {
          id: "B-11",
          rule: "duration(self.rotation.overlap) >= duration(self.maxTokenTTL) + duration('10m') && duration(self.rotation.overlap) >= duration('73h')",
          message: "rotation.overlap must be at least maxTokenTTL plus 10m, and at least 73h",
        },
        {
          id: "B-12",
          rule: "duration(self.rotation.interval) >= duration(self.rotation.overlap) + duration('24h')",
          message: "rotation.interval must be at least rotation.overlap plus 24h",
        },
      ],
    }),
    topology: say(topology.prefault({}), "Realms and schedules declared as resources."),
    service: say(service.prefault({}), {
      about: "The Service that programs connect to.",
      rules: [
        {
          id: "B-14",
          rule: "self.type != 'ClusterIP' || (!has(self.nodePort) && !has(self.externalTrafficPolicy))",
          message: "nodePort and externalTrafficPolicy need type NodePort or LoadBalancer",
        },
      ],
    }),
    websocket: say(
      z
        .object({
          allowedOrigins: say(
            list(text(253, 1)).default([]),
            "Origins from which browsers may open a WebSocket.",
          ),
        })
        .prefault({}),
      "WebSocket connections of browsers.",
    ),
    shutdown: say(
      z
        .object({
          drainSeconds: say(
            whole(0, 300).default(10),
            "How long connected programs are served after SIGTERM.",
          ),
        })
        .prefault({}),
      "What happens when the pod is stopped.",
    ),
    startupTimeoutSeconds: say(
      whole(60, 3600).default(60),
      "How long the broker may take to start, for instance to read a long log.",
    ),
    monitoring: say(monitoring.prefault({}), "Objects for Prometheus Operator and Grafana."),
    networkPolicy: say(
      z
        .object({
          enabled: say(z.boolean().default(true), "Whether a NetworkPolicy is made."),
          ingressFrom: say(
            list(peer).default([]),
            "Who may connect. Empty: everybody. The operator and Prometheus are always added.",
          ),
        })
        .prefault({}),
      "Who may open connections to the broker.",
    ),
    disruption: say(
      z
        .object({
          mode: say(
            z.enum(["Allow", "Protect"]).default("Allow"),
            "Protect makes node drains wait until a person deletes the pod.",
          ),
        })
        .prefault({}),
      "Whether node drains may stop the broker.",
    ),
    upgrade: say(
      z
        .object({
          operatorChanges: say(
            z.enum(["OnNextChange", "Automatic"]).default("OnNextChange"),
            "OnNextChange keeps a new operator from restarting the broker; its changes come with your next one.",
          ),
        })
        .prefault({}),
      "What an upgrade of the operator may do to this broker.",
    ),
    pod: say(pod.prefault({}), "Placement and additions to the pod."),
  }),
  {
    about: "The broker as it should be.",
    rules: [
      {
        id: "B-02",
        rule: "!(has(self.version) && has(self.image))",
        message: "version and image exclude each other",
      },
    ],
  },
)
export type BrokerSpec = z.output<typeof brokerSpec>

const count = (about: string) => say(whole(0, Number.MAX_SAFE_INTEGER).optional(), about)
const line = (about: string, max = 1024) => say(text(max).optional(), about)

export const brokerStatus = say(
  z
    .object({
      observedGeneration: count("Generation of the spec that this status speaks of."),
      conditions,
      replicas: count("Pods there are."),
      readyReplicas: count("Pods that are ready."),
      selector: line("Selector of the pods, for the scale subresource."),
      version: line("Version that the broker itself reports.", 64),
      image: line("Image in use."),
      endpoint: say(
        z
          .object({
            host: line("Name of the client Service."),
            port: say(whole(1, 65_535).optional(), "Port of the client Service."),
            websocket: line("Address for WebSocket clients."),
          })
          .optional(),
        "Where programs connect.",
      ),
      storage: say(
        z
          .object({
            claim: line("Name of the volume claim."),
            requested: line("Size that is asked for.", 64),
            capacity: line("Size that the volume has.", 64),
          })
          .optional(),
        "The volume.",
      ),
      auth: say(
        z
          .object({
            source: line("What client tokens are verified with: Generated, HS256, JWKS or None.", 16),
            phase: line("Phase of the key rotation: Steady, Publish, Propagate, Retire or Revoke.", 16),
            activeKid: line("Id of the key that signs.", 128),
            nextKid: line("Id of the key that will sign next.", 128),
            previousKid: line("Id of the key that signed before and is still accepted.", 128),
            activeSince: line("When the active key began to sign.", 64),
            nextRotation: line("When the active key will be replaced.", 64),
          })
          .optional(),
        "The generated keys.",
      ),
      topology: say(
        z
          .object({
            realms: count("Realms declared for this broker."),
            realmsReady: count("Of these, in the broker."),
            schedules: count("Schedules declared for this broker."),
            schedulesReady: count("Of these, in the broker."),
            orphans: count("Definitions in the broker whose resource is gone."),
            summary: line("Ready and declared definitions, as in 1/1.", 32),
          })
          .optional(),
        "Declared definitions, counted.",
      ),
    })
    .optional(),
  { about: "The broker as it is.", absence: true },
)
export type BrokerStatus = NonNullable<z.output<typeof brokerStatus>>
