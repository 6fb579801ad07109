// Plays the kubelet for one broker: starts the real broker process with the environment and the files of its pod template,
// keeps the files as the Secrets and the ConfigMap say, and tells the operator's resolver where it listens.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Resolve } from "../../../operator/cluster/broker.ts"
import { at, type KubeObject, listAt, textAt } from "../../../operator/plan/object.ts"
import { type BrokerProcess, newFolder, removeFolder, startProcess } from "../../kit/process.ts"
import type { Scenario } from "./scenario.ts"
import { until } from "./scenario.ts"

const CLOCK = fileURLToPath(new URL("./clock.mjs", import.meta.url))

export class BrokerPods {
  private readonly scenario: Scenario
  private readonly ports = new Map<string, number>()
  private readonly pods: BrokerPod[] = []

  constructor(scenario: Scenario) {
    this.scenario = scenario
  }

  /** For the operator: brokers without a process are at a port where nobody listens. */
  readonly resolve: Resolve = ({ namespace, name }) => ({
    host: "127.0.0.1",
    port: this.ports.get(`${namespace}/${name}`) ?? 1,
  })

  /** Starts the process of a broker as its StatefulSet describes it. */
  async start(name: string, namespace = this.scenario.namespace): Promise<BrokerPod> {
    const pod = new BrokerPod(this.scenario, name, namespace, port =>
      this.ports.set(`${namespace}/${name}`, port),
    )
    this.pods.push(pod)
    await pod.start()
    return pod
  }

  async end(): Promise<void> {
    for (const pod of this.pods) await pod.end()
  }
}

export class BrokerPod {
  process: BrokerProcess | null = null
  readonly root = newFolder()
  private readonly scenario: Scenario
  private readonly name: string
  private readonly namespace: string
  private readonly onPort: (port: number) => void

  constructor(scenario: Scenario, name: string, namespace: string, onPort: (port: number) => void) {
    this.scenario = scenario
    this.name = name
    this.namespace = namespace
    this.onPort = onPort
  }

  get port(): number {
    return this.process!.port
  }

  /** Environment and files come from the template; only paths and the port are this machine's. */
  async start(): Promise<void> {
    const statefulSet = await until("a StatefulSet", () =>
      this.scenario.get("statefulSet", this.name, this.namespace),
    )
    const container = at(statefulSet, "spec", "template", "spec", "containers", 0)
    await this.sync()
    this.moveClock(this.scenario.world.offset)
    const environment: Record<string, string> = {}
    for (const entry of listAt(container, "env")) {
      const value = textAt(entry, "value") ?? ""
      environment[textAt(entry, "name") ?? ""] = value.startsWith("/") ? join(this.root, value) : value
    }
    environment["FITZ_HTTP_PORT"] = "0"
    environment["FITZ_BIND_ADDR"] = "127.0.0.1"
    environment["NODE_OPTIONS"] = `${environment["NODE_OPTIONS"] ?? ""} --import=${CLOCK}`
    environment["TEST_CLOCK_FILE"] = join(this.root, "clock")
    mkdirSync(environment["FITZ_STORAGE_PATH"]!, { recursive: true })
    this.process = await startProcess(environment)
    this.onPort(this.process.port)
  }

  /** Brings the mounted files up to date, each by a swap, as the kubelet does. */
  async sync(): Promise<void> {
    const statefulSet = await this.scenario.get("statefulSet", this.name, this.namespace)
    const spec = at(statefulSet, "spec", "template", "spec")
    const mounts = listAt(spec, "containers", 0, "volumeMounts")
    for (const mount of mounts) {
      const base = join(this.root, textAt(mount, "mountPath") ?? "")
      const volume = listAt(spec, "volumes").find(each => textAt(each, "name") === textAt(mount, "name"))
      for (const source of listAt(volume, "projected", "sources")) {
        const secret = await this.scenario.get(
          "secret",
          textAt(source, "secret", "name") ?? "",
          this.namespace,
        )
        for (const item of listAt(source, "secret", "items"))
          put(join(base, textAt(item, "path") ?? ""), decode(secret, textAt(item, "key") ?? ""))
      }
      const map = textAt(volume, "configMap", "name")
      if (map !== null) {
        const object = await this.scenario.get("configMap", map, this.namespace)
        for (const [key, value] of Object.entries((object?.["data"] ?? {}) as Record<string, string>))
          put(join(base, key), Buffer.from(value))
      }
    }
  }

  /** The process's clock goes by so much beside the machine's. */
  moveClock(offsetMs: number): void {
    put(join(this.root, "clock"), Buffer.from(String(Math.round(offsetMs))))
  }

  async kill(): Promise<void> {
    await this.process?.kill()
    this.process = null
  }

  async restart(): Promise<void> {
    await this.kill()
    await this.start()
  }

  async end(): Promise<void> {
    await this.kill()
    removeFolder(this.root)
  }

  /** Throws the volume away, as a new one would be. */
  dropData(): void {
    rmSync(join(this.root, "var"), { recursive: true, force: true })
  }

  /** A request with that token. */
  async ask(
    path: string,
    {
      token,
      method = "GET",
      headers = {},
      body,
    }: { token?: string; method?: string; headers?: Record<string, string>; body?: unknown } = {},
  ): Promise<{ status: number; text: string; json: unknown }> {
    const response = await fetch(`http://127.0.0.1:${this.port}${path}`, {
      method,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    return { status: response.status, text, json: text.startsWith("{") ? JSON.parse(text) : null }
  }
}

function decode(secret: KubeObject | null, key: string): Buffer {
  const data = (secret?.["data"] ?? {}) as Record<string, string>
  return Buffer.from(data[key] ?? "", "base64")
}

function put(file: string, content: Buffer): void {
  mkdirSync(dirname(file), { recursive: true })
  if (same(file, content)) return
  writeFileSync(`${file}.new`, content)
  renameSync(`${file}.new`, file)
}

function same(file: string, content: Buffer): boolean {
  try {
    return readFileSync(file).equals(content)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false
    throw error
  }
}
