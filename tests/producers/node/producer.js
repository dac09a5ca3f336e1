// A service that writes events in the plain JSON envelope with KafkaJS.
//
//     producer.js BROKERS TOPIC COUNT
'use strict'

const { CompressionTypes, Kafka, logLevel } = require('kafkajs')

const [brokers, topic, count] = process.argv.slice(2)

async function main() {
  const kafka = new Kafka({ clientId: 'shop', brokers: brokers.split(','), logLevel: logLevel.ERROR })
  const producer = kafka.producer()
  await producer.connect()
  const messages = Array.from({ length: Number(count) }, (_, n) => ({
    key: `order-${n}`,
    value: JSON.stringify({ team: 'acme', type: 'test.thing.happened', id: `node-${n}`, data: { to: 'hook' } }),
  }))
  await producer.send({ topic, messages, compression: CompressionTypes.GZIP })
  await producer.disconnect()
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
