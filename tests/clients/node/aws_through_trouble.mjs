// Puts COUNT records into the existing stream drops, with @aws-sdk/client-kinesis and @aws-sdk/client-firehose in turn, again
// and again until each request was answered. Neither knows ids; the settings say that events have one.
import { Firehose } from '@aws-sdk/client-firehose'
import { Kinesis } from '@aws-sdk/client-kinesis'
import { setTimeout as pause } from 'node:timers/promises'

const { LACUS_URL, PREFIX, COUNT } = process.env
const settings = { endpoint: LACUS_URL, region: 'eu-central-1', maxAttempts: 50 }
const [kinesis, firehose] = [new Kinesis(settings), new Firehose(settings)]
const record = (number) => ({ Data: new TextEncoder().encode(JSON.stringify({ id: `${PREFIX}-${number}` })) })

// The SDKs have a quota of retries for a client's whole life (500 tokens, 10 for each that timed out), however large
// maxAttempts is: after it, the application is who sends again.
async function answered(put, tries = 100) {
  try {
    return await put()
  } catch (error) {
    if (tries === 1) throw error
    await pause(100)
    return answered(put, tries - 1)
  }
}

for (let first = 0, turn = 0; first < Number(COUNT); first += 50, turn++) {
  const numbers = Array.from({ length: Math.min(50, Number(COUNT) - first) }, (_, index) => first + index)
  const { FailedRecordCount, FailedPutCount } = await answered(() => turn % 2 === 0
    ? kinesis.putRecords({ StreamName: 'drops', Records: numbers.map((number) => ({ ...record(number), PartitionKey: `${number}` })) })
    : firehose.putRecordBatch({ DeliveryStreamName: 'drops', Records: numbers.map(record) }))
  if ((FailedRecordCount ?? FailedPutCount) !== 0) throw new Error(`failed: ${FailedRecordCount} ${FailedPutCount}`)
}
kinesis.destroy()
firehose.destroy()
