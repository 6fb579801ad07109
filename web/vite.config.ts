// How the page becomes files: relative addresses (it may live behind a path prefix), hashed names, nothing
// inlined (the security policy refuses it), and each file once more as brotli and gzip, made here so that the
// broker never compresses on a request.

import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { brotliCompressSync, constants, gzipSync } from "node:zlib"
import { defineConfig, type Plugin } from "vite"

/** Fonts and pictures are compressed in themselves. */
const WORTH_IT = /\.(?:js|css|svg)$/

const compressed: Plugin = {
  name: "compressed",
  // When everything is written, and not before: others still add to files as they are made.
  writeBundle({ dir }, bundle) {
    for (const fileName of Object.keys(bundle).filter(name => WORTH_IT.test(name))) {
      const file = join(dir!, fileName)
      const source = readFileSync(file)
      const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY }
      writeFileSync(`${file}.br`, brotliCompressSync(source, { params }))
      writeFileSync(`${file}.gz`, gzipSync(source, { level: 9 }))
    }
  },
}

export default defineConfig({
  root: fileURLToPath(new URL(".", import.meta.url)),
  base: "./",
  publicDir: false,
  plugins: [compressed],
  build: {
    target: "es2023",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    emptyOutDir: true,
  },
})
