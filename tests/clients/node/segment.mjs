// Sends COUNT track messages with @segment/analytics-node.
import { Analytics } from '@segment/analytics-node'

const { WRITE_KEY, LACUS_URL, PREFIX, COUNT } = process.env
const failed = []
const analytics = new Analytics({ writeKey: WRITE_KEY, host: LACUS_URL, maxRetries: 50, flushAt: 20 })
analytics.on('error', (error) => failed.push(String(error.reason ?? error)))
for (let number = 0; number < Number(COUNT); number++) {
  analytics.track({ userId: `user-${number % 7}`, event: 'Product Viewed', properties: { number }, messageId: `${PREFIX}-${number}` })
}
await analytics.closeAndFlush({ timeout: 300_000 })
if (failed.length > 0) {
  console.error('not sent:', failed.slice(0, 3))
  process.exit(1)
}
