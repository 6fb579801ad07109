// How the page becomes files: relative addresses (it may live behind a path prefix), hashed names, nothing
// inlined (the security policy refuses it), and each file once more as brotli and gzip, made here so that the
// broker never compresses on a request.

import { fileURLToPath } from "node:url"
import { brotliCompressSync, constants, gzipSync } from "node:zlib"
import { defineConfig, type Plugin } from "vite"

/** Fonts and pictures are compressed in themselves. */
const WORTH_IT = /\.(?:js|css|svg)$/

const compressed: Plugin = {
  name: "compressed",
  generateBundle(_options, bundle) {
    for (const [fileName, file] of Object.entries(bundle)) {
      if (!WORTH_IT.test(fileName)) continue
      const source = Buffer.from(file.type === "chunk" ? file.code : file.source)
      const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY }
      this.emitFile({
        type: "asset",
        fileName: `${fileName}.br`,
        source: brotliCompressSync(source, { params }),
      })
      this.emitFile({ type: "asset", fileName: `${fileName}.gz`, source: gzipSync(source, { level: 9 }) })
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
