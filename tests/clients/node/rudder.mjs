// Sends COUNT track messages with @rudderstack/rudder-sdk-node.
import RudderAnalytics from '@rudderstack/rudder-sdk-node'

const { WRITE_KEY, LACUS_URL, PREFIX, COUNT } = process.env
const Client = RudderAnalytics.default ?? RudderAnalytics
// By itself it waits twice as long before each try, without a bound.
const client = new Client(WRITE_KEY, {
  dataPlaneUrl: LACUS_URL, flushAt: 20, gzip: true, retryCount: 200, axiosRetryConfig: { retryDelay: () => 250 },
})
let failed = 0
for (let number = 0; number < Number(COUNT); number++) {
  client.track(
    { userId: `user-${number % 7}`, event: 'Product Viewed', properties: { number }, messageId: `${PREFIX}-${number}` },
    (error) => { if (error) failed++ },
  )
  // With each message the SDK measures all that wait.
  if (number % 500 === 499) await client.flush()
}
await client.flush()
if (failed > 0) {
  console.error('not sent:', failed)
  process.exit(1)
}
