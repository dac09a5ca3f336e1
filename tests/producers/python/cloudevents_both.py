"""A service that writes events with the CloudEvents SDK: one in binary mode, one in structured mode.

    cloudevents_both.py BROKERS TOPIC
"""

import sys

from cloudevents.http import CloudEvent
from cloudevents.kafka import to_binary, to_structured
from confluent_kafka import Producer

brokers, topic = sys.argv[1:]
producer = Producer({"bootstrap.servers": brokers})
for mode, convert in [("binary", to_binary), ("structured", to_structured)]:
    attributes = {
        "id": f"sdk-{mode}",
        "source": "urn:shop",
        "type": "test.thing.happened",
        "subject": "order-1",
        "team": "acme",
        "datacontenttype": "application/json",
    }
    message = convert(CloudEvent(attributes, {"to": "hook"}))
    producer.produce(topic, key=message.key, value=message.value, headers=message.headers)
sys.exit(producer.flush(30))
