"""A service that writes events with confluent-kafka's AvroSerializer and a schema registry.

    avro_with_registry.py BROKERS REGISTRY TOPIC SCHEMA_FILE COUNT
"""

import json
import sys

from confluent_kafka import Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

brokers, registry, topic, schema_file, count = sys.argv[1:]
with open(schema_file) as file:
    schema = json.load(file)

producer = Producer({"bootstrap.servers": brokers})
serialize = AvroSerializer(SchemaRegistryClient({"url": registry}), json.dumps(schema))
for n in range(int(count)):
    value = serialize(schema["tidings.example"], SerializationContext(topic, MessageField.VALUE))
    attributes = {"ce_team": "acme", "ce_id": f"python-{n}", "ce_source": "python"}
    producer.produce(topic, key=f"customer-{n}", value=value, headers=attributes)
sys.exit(producer.flush(30))
