// Puts COUNT records into the existing stream drops, with @aws-sdk/client-kinesis and @aws-sdk/client-firehose in turn, again
// and again until each request was answered. Neither knows ids; the settings say that events have one.
import { Firehose } from '@aws-sdk/client-firehose'
import { Kinesis } from '@aws-sdk/client-kinesis'

const { LACUS_URL, PREFIX, COUNT } = process.env
const settings = { endpoint: LACUS_URL, region: 'eu-central-1', maxAttempts: 50 }
const [kinesis, firehose] = [new Kinesis(settings), new Firehose(settings)]
const record = (number) => ({ Data: new TextEncoder().encode(JSON.stringify({ id: `${PREFIX}-${number}` })) })
for (let first = 0, turn = 0; first < Number(COUNT); first += 50, turn++) {
  const numbers = Array.from({ length: Math.min(50, Number(COUNT) - first) }, (_, index) => first + index)
  const { FailedRecordCount, FailedPutCount } = turn % 2 === 0
    ? await kinesis.putRecords({ StreamName: 'drops', Records: numbers.map((number) => ({ ...record(number), PartitionKey: `${number}` })) })
    : await firehose.putRecordBatch({ DeliveryStreamName: 'drops', Records: numbers.map(record) })
  if ((FailedRecordCount ?? FailedPutCount) !== 0) throw new Error(`failed: ${FailedRecordCount} ${FailedPutCount}`)
}
kinesis.destroy()
firehose.destroy()
