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
          include: ["test/{storage,admin,cli,whole,cluster}/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Two cores: a third process of ours would only make the others wait.
          maxWorkers: 2,
        },
      },
      {
        test: {
          name: "page",
          include: ["test/page/**/*.test.ts"],
          globalSetup: ["test/kit/page-files.ts"],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          maxWorkers: 1,
        },
      },
    ],
  },
})
