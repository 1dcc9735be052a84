// Produces and consumes with @aws-sdk/client-kinesis (HTTP/2 without TLS) and @aws-sdk/client-firehose.
import { Firehose } from '@aws-sdk/client-firehose'
import { Kinesis } from '@aws-sdk/client-kinesis'

const { LACUS_URL, PREFIX, COUNT } = process.env
const StreamName = 'node-stream'
const bytes = (id) => new TextEncoder().encode(JSON.stringify({ id: `${PREFIX}-${id}` }) + '\n')
const kinesis = new Kinesis({ endpoint: LACUS_URL, region: 'eu-central-1' })
await kinesis.createStream({ StreamName, ShardCount: 1 })
const Records = Array.from({ length: Number(COUNT) }, (_, number) => ({ Data: bytes(number), PartitionKey: `user-${number % 7}` }))
const put = await kinesis.putRecords({ StreamName, Records })
if (put.FailedRecordCount !== 0) throw new Error(JSON.stringify(put))
const { Shards } = await kinesis.listShards({ StreamName })
const { ShardIterator } = await kinesis.getShardIterator({ StreamName, ShardId: Shards[0].ShardId, ShardIteratorType: 'TRIM_HORIZON' })
const got = await kinesis.getRecords({ ShardIterator })
if (got.Records.length !== Number(COUNT)) throw new Error(`read ${got.Records.length} records`)
await kinesis.getRecords({ ShardIterator: 'nonsense' }).then(
  () => { throw new Error('nonsense was accepted') },
  (error) => { if (error.name !== 'InvalidArgumentException') throw error },
)
const firehose = new Firehose({ endpoint: LACUS_URL, region: 'eu-central-1' })
const DeliveryStreamName = 'node-delivery'
await firehose.createDeliveryStream({ DeliveryStreamName, S3DestinationConfiguration: { RoleARN: 'arn:aws:iam::000000000000:role/any', BucketARN: 'arn:aws:s3:::any' } })
await firehose.putRecord({ DeliveryStreamName, Record: { Data: bytes('fire') } })
kinesis.destroy()
firehose.destroy()
