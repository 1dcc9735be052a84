// Loads a page with @segment/analytics-next into Chromium; the page sends COUNT track messages and one page.
import { createServer } from 'node:http'
import { build } from 'esbuild'
import puppeteer from 'puppeteer-core'

const { WRITE_KEY, LACUS_URL, PREFIX, COUNT, CHROMIUM } = process.env
const source = `
import { AnalyticsBrowser } from '@segment/analytics-next'
const analytics = AnalyticsBrowser.load({ writeKey: '${WRITE_KEY}', cdnURL: '${LACUS_URL}' })
analytics.then(() => { window.loaded = true }, () => { window.missing = true })
const send = async () => {
  await analytics
  await analytics.identify('user-1', { plan: 'pro' })
  await analytics.page('Docs', 'Home')
  for (let number = 0; number < ${COUNT}; number++) {
    await analytics.track('Button Clicked', { id: '${PREFIX}-' + number })
  }
  window.done = true
}
send().catch((error) => { window.failed = String(error) })
`
const bundle = await build({
  stdin: { contents: source, resolveDir: import.meta.dirname },
  bundle: true, format: 'iife', write: false, define: { 'process.env.NODE_ENV': '"production"' },
})
const page = `<!doctype html><title>shop</title><script>${bundle.outputFiles[0].text.replaceAll('</script>', '<\\/script>')}</script>`
const server = createServer((_, answer) => answer.setHeader('content-type', 'text/html').end(page)).listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))
const browser = await puppeteer.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
const tab = await browser.newPage()
const sent = new Set()
tab.on('requestfinished', (request) => { if (request.method() === 'POST' && request.url().endsWith('/v1/t')) sent.add(request) })
// Without its settings the SDK sends nothing: then a person loads the page again.
do {
  await tab.goto(`http://127.0.0.1:${server.address().port}/`)
  await tab.waitForFunction(() => window.loaded || window.missing, { timeout: 60_000 })
} while (!await tab.evaluate(() => window.loaded))
await tab.waitForFunction(() => window.done || window.failed, { timeout: 120_000 })
const failed = await tab.evaluate(() => window.failed)
for (let wait = 0; sent.size < Number(COUNT) && wait < 600; wait++) await new Promise((resolve) => setTimeout(resolve, 100))
await browser.close()
server.close()
if (failed || sent.size < Number(COUNT)) {
  console.error('sent', sent.size, failed ?? '')
  process.exit(1)
}
