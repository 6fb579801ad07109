// The broker put together: both lanes, the doors, identity, the way up and the way down. The one place that
// knows everybody; it decides nothing that a domain, the engine or a door could.

import type { Socket } from "node:net"
import { availableParallelism } from "node:os"
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from "node:worker_threads"
import { FRAME_BYTES_MAX } from "../protocol/frame.ts"
import { Api } from "./admin/api.ts"
import { Audit } from "./admin/audit.ts"
import { Gate } from "./admin/gate.ts"
import { type HttpDoor, openHttp } from "./admin/http.ts"
import { Metrics } from "./admin/metrics.ts"
import { openApiOf } from "./admin/openapi.ts"
import type { DrainState, Operations } from "./admin/operations.ts"
import { Page } from "./admin/page.ts"
import { Table } from "./admin/route.ts"
import { ROUTES } from "./admin/routes.ts"
import { Bells, LoopPoll } from "./bells.ts"
import { type Config, isLoopback, parseRate, splitPair } from "./config.ts"
import { LeaseDomain } from "./domains/lease.ts"
import { NoticeDomain } from "./domains/notice.ts"
import { Realms, realmCells } from "./domains/realms.ts"
import { RpcDomain } from "./domains/rpc.ts"
import { type DurableMessage, type DurableRequest, type DurableStart, stackOf } from "./durable.ts"
import { DoorTally } from "./engine/doors.ts"
import { Engine, type Identity, type Peer } from "./engine/engine.ts"
import { Lane } from "./engine/lane.ts"
import { Rates, SAMPLE_MS } from "./engine/rates.ts"
import { Status } from "./engine/status.ts"
import { Tally } from "./engine/tally.ts"
import { FenceBlocks } from "./fences.ts"
import { Watched } from "./files.ts"
import { shrinkHeap } from "./heap.ts"
import { IdentityVerifier, type Verified } from "./identity.ts"
import { durableLimits, engineLimits, liveLimits } from "./limits.ts"
import { laneOperations } from "./operations.ts"
import { CHECKPOINT_CELLS_BYTES } from "./storage/checkpoint.ts"
import { storeBytes } from "./storage/database.ts"
import { type Admission, type Carrier, Connection } from "./transport/connection.ts"
import { OutboundAccount } from "./transport/outbound.ts"
import { type BoundPort, checkTls, Port, type TlsFiles } from "./transport/port.ts"
import { TcpCarrier } from "./transport/tcp.ts"
import { CLOSE_WITHIN_MS, WebSocketCarrier, withOuterLength } from "./transport/websocket.ts"
import type { World } from "./world.ts"

export interface BrokerOptions {
  readonly config: Config
  readonly world: World
  readonly version: string
  /** Where the files of the web page lie; without them there is no page. */
  readonly pageFolder?: string | null
  /** Signs and verifies where nothing else is configured; null for none. */
  readonly developmentSecret: string | null
  /** The broker cannot go on. The process ends, and starts anew from the file. */
  readonly onFatal: (reason: string) => void
  /** Gives up a start that is under way: it then rejects with the signal's reason. */
  readonly stop?: AbortSignal
}

const ANYBODY: Identity = { family: 1, permissions: null }
/** A drain ends no sooner, so that probes see it. */
const DRAIN_MS_MIN = 1_000
/** Connections that are being closed get this long. */
const CLOSE_MS = 1_000
const DRAIN_LOOK_MS = 50
/** Complaints of one kind are written this often at most. */
const COMPLAIN_EVERY_MS = 60_000

export class Broker {
  private readonly options: BrokerOptions
  readonly status: Status
  private readonly engine: Engine
  private readonly live: Lane
  private readonly fences: FenceBlocks
  private readonly outbound: OutboundAccount
  private readonly liveTally = new Tally()
  private readonly doorTally = new DoorTally()
  private readonly rates: Rates<"fires">
  private readonly metrics: Metrics
  private cancelSample: () => void = () => undefined
  private readonly durableTally = new Tally()
  private readonly port: MessagePort
  private readonly bells: Bells
  private readonly threads: Worker[]
  private readonly startCopier: () => void
  private readonly connections = new Map<Connection, { verified: Verified | null }>()
  private readonly complained = new Map<string, number>()
  private doors: Port | null = null
  private bound: BoundPort | null = null
  private boundTcp: BoundPort | null = null
  private http: HttpDoor | null = null
  private readonly realms: Realms
  private readonly audit: Audit
  private storageId = ""
  private drainedAtMs: number | null = null
  private closing = false
  private verifier: IdentityVerifier | null = null
  private tls: Watched<TlsFiles> | null = null
  /** Nothing that the durable lane says matters any more. */
  private deaf = false
  private cancelDue: () => void = () => undefined
  private whenReady: () => void = () => undefined
  private whenClosed: () => void = () => undefined
  private onProblem: (problem: Error) => void = () => undefined

  private constructor(options: BrokerOptions) {
    this.options = options
    const { config, world, version } = options
    this.bells = new Bells()
    this.bells.beat(world.now())
    this.status = new Status(version, world.now, () => this.bells.lastBeatMs)
    this.fences = new FenceBlocks(() => this.ask("fences"))
    this.outbound = new OutboundAccount({
      bytesMax: config.maxOutboundBytes,
      totalBytesMax: config.maxOutboundTotalBytes,
    })
    this.audit = new Audit(config.auditFile, config.auditStrict, world.log)
    const limits = liveLimits(config)
    const cells = realmCells(config.maxRealms)
    const realms = new Realms(config.realmsDeclaredOnly, cells, 0)
    this.realms = realms
    this.live = new Lane({
      domains: {
        notice: new NoticeDomain(limits.notice, realms),
        rpc: new RpcDomain(limits.rpc, realms),
        lease: new LeaseDomain(limits.lease, this.fences, realms),
      },
      store: null,
      realms,
      firstId: 1,
      random: world.random,
      tally: this.liveTally,
      elapsedMs: world.elapsedMs,
      noticeRoom: session => this.outbound.noticeBytesMax - this.engine.pendingBytes(session),
      parkedMax: limits.parkedMax,
      onBug: (error, name) => world.log("error", "a request threw", { request: name, stack: stackOf(error) }),
      onWritable: () => undefined,
    })
    // With one processor, polling would only keep the other thread from working.
    const processors = availableParallelism()
    const pollMs = processors > 1 ? config.busyPollMicros / 1_000 : 0
    const poll = new LoopPoll(
      this.bells,
      pollMs,
      () => this.lookIntoPort(),
      () => this.engine.laneBusy,
      world.soon,
    )
    this.engine = new Engine({
      live: this.live,
      link: { post: batch => this.ask(batch), tell: asked => this.ask(asked) },
      limits: engineLimits(config),
      now: world.now,
      elapsedMs: world.elapsedMs,
      soon: world.soon,
      at: (due, work) => {
        this.cancelDue()
        if (!this.deaf) this.cancelDue = world.later(due - world.now(), work)
      },
      later: world.later,
      batchesTaken: () => this.durableTally.count("batchesTaken"),
      happened: () => poll.happened(),
    })
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    const start: DurableStart = {
      port: port2,
      folder: config.storageMode === "memory" ? null : config.storagePath,
      limits: durableLimits(config),
      bells: this.bells.buffer,
      // With two, whoever sent the request needs the second one.
      pollMs: processors > 2 ? pollMs : 0,
      tally: this.durableTally.buffer,
      checkpointCells: new SharedArrayBuffer(CHECKPOINT_CELLS_BYTES),
      realmCells: cells,
    }
    // SQLite's temporary files belong on the volume: the root of a container may be read-only.
    if (start.folder !== null) process.env["SQLITE_TMPDIR"] = start.folder
    this.threads = [this.thread("thread", start, [port2])]
    this.startCopier = () => {
      this.threads.push(this.thread("copier", { folder: start.folder, cells: start.checkpointCells }, []))
    }
    this.rates = new Rates(["fires"], () => this.durableTally.figure("schedule", "fires_total"))
    this.metrics = new Metrics({
      status: this.status,
      live: this.liveTally,
      durable: this.durableTally,
      engine: this.engine,
      doors: this.doorTally,
      rates: this.rates,
      now: world.now,
      connections: () => this.connections.size,
      storageBytes: () => (start.folder === null ? 0 : storeBytes(start.folder)),
    })
    this.sampleRates()
    void this.listenToLane()
  }

  private sampleRates(): void {
    this.rates.sample(this.options.world.now())
    this.cancelSample = this.options.world.later(SAMPLE_MS, () => this.sampleRates())
  }

  private thread(name: string, data: object, transferList: MessagePort[]): Worker {
    const ending = import.meta.url.endsWith(".ts") ? "ts" : "js"
    const worker = new Worker(new URL(`./${name}.${ending}`, import.meta.url), {
      workerData: data,
      transferList,
    })
    worker.on("error", error => this.fail(stackOf(error)))
    return worker
  }

  /**
   * Starts a broker: listens first and loads after. Resolves once programs are let in; rejects where it
   * cannot start. `bound` hears where it listens, before anything is loaded.
   */
  static async start(
    options: BrokerOptions,
    bound: (broker: Broker) => void = () => undefined,
  ): Promise<Broker> {
    const broker = new Broker(options)
    try {
      await broker.open(bound)
      return broker
    } catch (error) {
      await broker.abandon()
      throw error
    }
  }

  /** Where it listens for everything. */
  get address(): BoundPort {
    return this.bound!
  }

  /** Where it listens for raw TCP alone, or null. */
  get tcpAddress(): BoundPort | null {
    return this.boundTcp
  }

  private async open(bound: (broker: Broker) => void): Promise<void> {
    const { config, world } = this.options
    const ready = new Promise<void>((resolve, reject) => {
      this.whenReady = resolve
      this.onProblem = reject
    })
    // Whoever fails first decides; the other must not become an unhandled rejection.
    ready.catch(() => undefined)
    this.options.stop?.addEventListener("abort", () => this.giveUpStarting())
    this.verifier = new IdentityVerifier(config, world, this.options.developmentSecret, () => this.recheck())
    const gate = this.gate()
    const onError = (error: unknown, request: { readonly url: string }): void =>
      world.log("error", "an HTTP request failed", {
        path: request.url.split("?", 1)[0],
        stack: stackOf(error),
      })
    const api = new Api({
      table: new Table(ROUTES),
      gate,
      audit: this.audit,
      operations: this.operations(),
      strictConfirm: config.adminStrictConfirm,
      performanceBlock: config.performanceBlock,
      observe: observed => this.metrics.observe(observed),
      onError,
    })
    this.http = await openHttp({
      status: this.status,
      page: Page.open(this.options.pageFolder ?? null),
      api,
      gate,
      metrics: this.metrics,
      probeAuth: config.probeAuth,
      judgeUpgrade: request => this.judgeUpgrade(request.headers.origin),
      takeSocket: (socket, request) => {
        const raw = request.raw.socket
        const connection = this.admit(new WebSocketCarrier(socket, raw), peerOf("websocket", raw))
        socket.on("message", (data, isBinary) => {
          if (isBinary) connection.receive(withOuterLength(data as Buffer))
          else connection.violate("a text message")
        })
        // The library closes with the code that fits; a broken connection closes by itself.
        socket.on("error", () => this.complain("connection closed: not WebSocket"))
        socket.on("close", () => this.forget(connection))
      },
      messageBytesMax: FRAME_BYTES_MAX,
      closeTimeout: CLOSE_WITHIN_MS,
      headerTimeoutMs: config.detectTimeoutSeconds * 1_000,
      tlsOnly: config.tlsOnly,
      onError,
    })
    await this.listen(this.http)
    this.options.stop?.throwIfAborted()
    bound(this)
    await ready
  }

  private async listen(http: HttpDoor): Promise<void> {
    const { config, world } = this.options
    const { tlsCertFile, tlsKeyFile } = config
    if (tlsCertFile !== null && tlsKeyFile !== null) {
      this.tls = openTls([tlsCertFile, tlsKeyFile], world, files => this.doors?.renew(files))
    }
    this.doors = new Port({
      takeHttp: socket => {
        http.server.emit("connection", socket)
        socket.resume()
      },
      takeTcp: (socket, first) => this.takeTcp(socket, first),
      tls: this.tls?.value ?? null,
      tlsOnly: config.tlsOnly,
      detectTimeoutMs: config.detectTimeoutSeconds * 1_000,
      later: world.later,
      onMalformed: reason => {
        this.doorTally.malformed.undetected++
        this.complain(`connection closed: ${reason}`)
      },
    })
    const main = await this.doors.listen(config.bindAddr, config.httpPort, false)
    const tcp =
      config.tcpPort === null ? null : await this.doors.listen(config.bindAddr, config.tcpPort, true)
    this.bound = main
    this.boundTcp = tcp
    this.status.listening = true
    if (!config.authRequired) {
      const level = isLoopback(config.bindAddr) ? "info" : "warn"
      world.log(level, "every program may do everything: FITZ_AUTH_REQUIRED=false", { address: main.address })
    }
    if (config.adminAuthMode === "open") {
      world.log("warn", "everybody may do everything on the admin surface: FITZ_ADMIN_AUTH_MODE=open", {
        address: main.address,
      })
    }
    world.log("info", "listening", { address: main.address, port: main.port, tcpPort: tcp?.port ?? null })
  }

  // ── programs ───────────────────────────────────────────────────────────────────────────────────────────

  private judgeUpgrade(
    origin: string | undefined,
  ): ReturnType<Parameters<typeof openHttp>[0]["judgeUpgrade"]> {
    const { turnedAway } = this.doorTally
    if (!this.status.open) {
      turnedAway[this.status.draining ? "draining" : "starting"]++
      const code = this.status.draining ? "shutting_down" : "not_ready"
      return { status: 503, code, message: "programs are not let in now" }
    }
    if (this.full) {
      turnedAway.full++
      return { status: 503, code: "too_many_connections", message: "too many programs are connected" }
    }
    if (origin !== undefined && !this.options.config.wsAllowedOrigins.includes(origin)) {
      turnedAway.origin++
      return { status: 403, code: "origin_not_allowed", message: "this origin may not connect" }
    }
    return null
  }

  private get full(): boolean {
    return this.connections.size >= this.options.config.maxConnections
  }

  private takeTcp(socket: Socket, first: Uint8Array): boolean {
    if (!this.status.open || this.full) {
      this.doorTally.turnedAway[this.status.open ? "full" : this.status.draining ? "draining" : "starting"]++
      return false
    }
    const connection = this.admit(new TcpCarrier(socket), peerOf("tcp", socket))
    socket.on("data", piece => connection.receive(piece))
    socket.on("end", () => socket.end())
    socket.on("close", () => this.forget(connection))
    connection.receive(first)
    return true
  }

  private admit(carrier: Carrier, peer: Peer): Connection {
    const { transport } = peer
    const { config, world } = this.options
    const { doorTally } = this
    const held: { verified: Verified | null } = { verified: null }
    const admission: Admission = {
      anonymous: !config.authRequired,
      anybody: ANYBODY,
      connectTimeoutMs: config.connectTimeoutSeconds * 1_000,
      later: world.later,
      verify: async token => {
        const verified = await this.verifier!.verify(token)
        if (typeof verified === "string") {
          doorTally.authFailed(verified)
          this.complain(`CONNECT refused: ${verified}`)
          return null
        }
        const closed = this.realmRefusal(verified.realm)
        if (closed !== null) {
          this.complain(`CONNECT refused: ${closed}`)
          return null
        }
        held.verified = verified
        return verified
      },
      onMalformed: reason => {
        doorTally.malformed[transport]++
        this.complain(`connection closed: ${reason}`)
      },
      onBehind: () => {
        doorTally.behind[transport]++
      },
      onEnded: ending => {
        doorTally.ended[ending]++
      },
    }
    const connection = new Connection(carrier, this.engine, admission, this.outbound, peer)
    this.connections.set(connection, held)
    return connection
  }

  /** Why nobody more may come in under this realm, or null. */
  private realmRefusal(realm: string): string | null {
    if (realm === "") return null
    if (!this.realms.permitsRealm(realm)) return "the realm is not declared"
    const max = this.realms.get(realm)?.limits.maxSessions ?? null
    return max !== null && this.engine.sessionsOf(realm) >= max ? "the realm has all its sessions" : null
  }

  private forget(connection: Connection): void {
    this.connections.delete(connection)
    connection.closed()
  }

  /** The family map has changed: whoever has lost its family, or moved to another, has to come again. */
  private recheck(): void {
    for (const [connection, { verified }] of this.connections) {
      if (verified === null) continue
      if (this.verifier?.stillValid(verified) !== true) connection.end("violation")
    }
  }

  private complain(message: string): void {
    const now = this.options.world.now()
    if (now - (this.complained.get(message) ?? Number.NEGATIVE_INFINITY) < COMPLAIN_EVERY_MS) return
    this.complained.set(message, now)
    this.options.world.log("warn", message)
  }

  // ── operators ──────────────────────────────────────────────────────────────────────────────────────────

  private gate(): Gate {
    const { config, world } = this.options
    const verifier = this.verifier!
    const writeLimits = config.rateLimitAdminWriteOf.map(pair => {
      const [name, rate] = splitPair(pair)
      return [name, parseRate(rate!)!] as const
    })
    return new Gate({
      authenticator: {
        principal: token => verifier.principal(token),
        byApiKey: key => verifier.byApiKey(key),
      },
      open: config.adminAuthMode === "open",
      limits: {
        metrics: parseRate(config.rateLimitMetrics)!,
        admin_read: parseRate(config.rateLimitAdminRead)!,
        admin_write: parseRate(config.rateLimitAdminWrite)!,
        auth_failure: parseRate(config.rateLimitAuthFailure)!,
      },
      writeLimits: new Map(writeLimits),
      metricsPermission: config.metricsPermission,
      now: world.now,
      onFailure: reason => this.doorTally.authFailed(reason),
      onLimited: name => this.metrics.limited(name),
    })
  }

  private operations(): Operations {
    const { config, world, version } = this.options
    const { engine, status, connections, audit } = this
    const self = this
    const document = openApiOf(ROUTES, version)
    return {
      ...laneOperations(engine, world),
      status,
      now: world.now,
      get connections() {
        return connections.size
      },
      get sessionCount() {
        return engine.sessionCount
      },
      get framesPerSecond() {
        const now = world.now()
        return engine.framesIn.perSecond(now) + engine.framesOut.perSecond(now)
      },
      get storageId() {
        return self.storageId
      },
      liveRealms: () => [...new Set([...engine.sessionRealms, ...this.live.usedRealms()])],
      families: config.routeFamilies,
      identityClaim: config.jwtIdentityClaim,
      trustSources: () => this.verifier!.trustSources(),
      drainState: () => this.drainState(),
      drain: () => this.beginDrain(),
      audit: page => audit.read(page),
      samples: () => this.metrics.samples(),
      openApi: () => document,
    }
  }

  private drainState(): DrainState {
    const { drainedAtMs } = this
    const graceSeconds = this.options.config.drainGraceSeconds
    return {
      state: this.closing ? "shutting_down" : this.status.draining ? "draining" : "running",
      sessions: this.engine.sessionCount,
      graceSeconds,
      startedMs: drainedAtMs,
      deadlineMs: drainedAtMs === null ? null : drainedAtMs + graceSeconds * 1_000,
    }
  }

  // ── the durable lane ───────────────────────────────────────────────────────────────────────────────────

  /** Hands a batch or a request to the durable lane and wakes it. */
  private ask(message: Uint8Array | DurableRequest): void {
    this.port.postMessage(message, message instanceof Uint8Array ? [message.buffer as ArrayBuffer] : [])
    this.bells.ringToLane()
  }

  /** Takes what the lane has said. */
  private lookIntoPort(): void {
    for (
      let got = receiveMessageOnPort(this.port);
      got !== undefined;
      got = receiveMessageOnPort(this.port)
    ) {
      const message = got.message as DurableMessage | Uint8Array
      if (message instanceof Uint8Array) this.engine.returned(message)
      else this.hear(message)
    }
  }

  private async listenToLane(): Promise<void> {
    while (!this.deaf) {
      const rung = this.bells.rungFromLane()
      this.lookIntoPort()
      await this.bells.heardFromLane(rung)
    }
  }

  private hear(message: DurableMessage): void {
    const { status } = this
    switch (message.kind) {
      case "copier":
        this.startCopier()
        return
      case "progress":
        status.loadProgress = message.share
        return
      case "fences":
        this.fences.add(message.first, message.count)
        return
      case "answer":
        this.engine.answered(message.id, message.value)
        return
      case "realms":
        for (const change of message.changes) this.realms.change(change)
        return
      case "ready":
        shrinkHeap()
        this.storageId = message.storageId
        status.loadProgress = 1
        status.storageWritable = true
        status.domainsReady = true
        this.options.world.log("info", "ready", { startupMs: status.startupMs, storageId: message.storageId })
        this.whenReady()
        return
      case "writable":
        status.storageWritable = message.writable
        this.options.world.log(
          message.writable ? "info" : "error",
          message.writable
            ? "the store takes writes again"
            : "the disk is full: writes are refused until there is room",
        )
        return
      case "log":
        this.options.world.log(message.level, message.message, message.fields)
        return
      case "failed":
        if (message.expected) this.onProblem(new Error(message.reason))
        else this.fail(message.reason)
        return
      case "closed":
        this.whenClosed()
    }
  }

  /** Readiness goes first, then the process. */
  private fail(reason: string): void {
    this.status.storageWritable = false
    this.status.dead ??= "the durable lane has failed"
    this.onProblem(new Error(reason))
    void this.keepLog().finally(() => this.options.onFatal(reason))
  }

  /** What the store's files are now is what the next start has to find. */
  private async keepLog(): Promise<void> {
    const { storageMode, storagePath } = this.options.config
    if (storageMode === "memory") return
    try {
      const { keepLog } = await import("./storage/database.ts")
      keepLog(storagePath)
    } catch (error) {
      this.options.world.log("warn", "the store may be closed on the way out", { reason: stackOf(error) })
    }
  }

  // ── the way down ───────────────────────────────────────────────────────────────────────────────────────

  /** Sends programs away in good order. Resolves when the last is gone, or the grace is over. */
  private async sendAway(): Promise<void> {
    const { config, world } = this.options
    const begun = this.drainedAtMs!
    const graceMs = Math.max(DRAIN_MS_MIN, config.drainGraceSeconds * 1_000)
    await this.until(() => {
      const elapsedMs = world.now() - begun
      return elapsedMs >= graceMs || (elapsedMs >= DRAIN_MS_MIN && this.engine.sessionCount === 0)
    })
    for (const connection of this.connections.keys()) connection.end("draining")
    const ending = world.now()
    await this.until(() => this.connections.size === 0 || world.now() - ending >= CLOSE_MS)
  }

  private sentAway: Promise<void> | null = null

  /** Begins to send programs away. The process stays and answers HTTP. */
  private beginDrain(): Promise<void> {
    if (this.sentAway !== null) return this.sentAway
    const { config, world } = this.options
    this.status.draining = true
    this.drainedAtMs = world.now()
    world.log("info", "draining", {
      sessions: this.engine.sessionCount,
      graceSeconds: config.drainGraceSeconds,
    })
    this.engine.drain()
    this.sentAway = this.sendAway()
    return this.sentAway
  }

  /** Sends programs away in good order and closes the store. Resolves when all is done. */
  async drain(): Promise<void> {
    await this.beginDrain()
    this.closing = true
    await this.close()
    this.options.world.log("info", "stopped")
  }

  private until(done: () => boolean): Promise<void> {
    return new Promise(resolve => {
      const look = (): void => {
        if (done()) resolve()
        else this.options.world.later(DRAIN_LOOK_MS, look)
      }
      look()
    })
  }

  private async close(): Promise<void> {
    const closed = new Promise<void>(resolve => {
      this.whenClosed = resolve
    })
    this.ask("close")
    await closed
    await this.abandon()
  }

  /** Asked to stop before it was ready: the store is as it was, nothing has been acknowledged. */
  private giveUpStarting(): void {
    if (this.status.domainsReady) return
    this.status.draining = true
    this.onProblem(this.options.stop?.reason as Error)
  }

  /** Lets go of everything without asking the store. */
  private async abandon(): Promise<void> {
    this.verifier?.stop()
    this.tls?.stop()
    await this.doors?.close()
    await this.http?.app.close()
    this.deaf = true
    // A lease or a call that ends much later must not keep the process alive until then.
    this.cancelDue()
    this.cancelSample()
    this.bells.ringFromLane()
    this.port.close()
    await Promise.all(this.threads.map(thread => thread.terminate()))
  }
}

function openTls(
  paths: readonly [cert: string, key: string],
  world: World,
  onChange: (files: TlsFiles) => void,
): Watched<TlsFiles> {
  const read = ([cert, key]: readonly ReadonlyMap<string, string>[]): TlsFiles => {
    const files = { cert: [...cert!.values()].join("\n"), key: [...key!.values()].join("\n") }
    checkTls(files)
    return files
  }
  try {
    return new Watched(paths, read, world, onChange)
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`FITZ_TLS_CERT_FILE, FITZ_TLS_KEY_FILE: ${reason}`)
  }
}

function peerOf(transport: Peer["transport"], { remoteAddress = "", remotePort = 0 }: Socket): Peer {
  const host = remoteAddress.includes(":") ? `[${remoteAddress}]` : remoteAddress
  return { transport, remoteAddr: `${host}:${remotePort}` }
}
