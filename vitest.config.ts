// Which tests are quick (`npm run check`: no processes, no disks, no browsers) and which prove the product as
// its users meet it (`npm test` runs both). A test never sleeps and hopes: what it waits for is an event.

import { defineConfig } from "vitest/config"
import { Counts } from "./test/kit/reporter.ts"

const QUICK = "{vectors,protocol,domains,engine,transport,model,client,operator,web,roof}"

export default defineConfig({
  test: {
    reporters: ["default", new Counts()],
    projects: [
      {
        test: {
          name: "quick",
          include: [`test/${QUICK}/**/*.test.ts`, "test/*.test.ts"],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: "whole",
          include: ["test/{storage,admin,cli,whole}/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Two cores: a third process of ours would only make the others wait.
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "cluster",
          include: ["test/cluster/**/*.test.ts"],
          // One Kubernetes for all of them, begun before the other tests and awaited after them.
          globalSetup: "test/cluster/global.ts",
          sequence: { groupOrder: 1 },
          testTimeout: 300_000,
          // A Kubernetes of two processors stalls now and then; what had to be tried twice is printed at the end.
          retry: 1,
          // The first build of the cluster's program takes minutes.
          hookTimeout: 1_500_000,
          // Kubernetes itself needs the other processor.
          maxWorkers: 1,
        },
      },
      {
        test: {
          name: "page",
          include: ["test/page/**/*.test.ts"],
          globalSetup: ["test/kit/page-files.ts"],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          retry: 1,
          sequence: { groupOrder: 2 },
          maxWorkers: 1,
        },
      },
    ],
  },
})
