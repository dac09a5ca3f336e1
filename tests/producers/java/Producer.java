import io.apicurio.registry.serde.SerdeConfig;
import io.apicurio.registry.serde.avro.AvroKafkaSerializer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * A service that writes events with Apicurio's Avro serializer, in the mode that puts Confluent's four byte id in front.
 *
 * <p>Arguments: BROKERS REGISTRY TOPIC SCHEMA_FILE
 */
public class Producer {
    public static void main(String[] arguments) throws Exception {
        var schema = new Schema.Parser().parse(Files.readString(Path.of(arguments[3])));
        var builder = new GenericRecordBuilder(schema);
        for (var field : schema.getFields()) {
            if (!field.hasDefaultValue()) {
                builder.set(field, "java");
            }
        }
        var record = builder.set("license_type", "paid").build();

        var settings = new Properties();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class.getName());
        settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, AvroKafkaSerializer.class.getName());
        settings.put(SerdeConfig.REGISTRY_URL, arguments[1]);
        settings.put(SerdeConfig.AUTO_REGISTER_ARTIFACT, true);
        settings.put(SerdeConfig.ENABLE_CONFLUENT_ID_HANDLER, true);
        settings.put(SerdeConfig.USE_ID, "contentId");
        settings.put(SerdeConfig.ENABLE_HEADERS, false);
        try (var producer = new KafkaProducer<String, GenericRecord>(settings)) {
            var event = new ProducerRecord<String, GenericRecord>(arguments[2], "customer-1", record);
            event.headers().add("ce_team", "acme".getBytes(StandardCharsets.UTF_8));
            event.headers().add("ce_id", "java-0".getBytes(StandardCharsets.UTF_8));
            event.headers().add("ce_source", "java".getBytes(StandardCharsets.UTF_8));
            producer.send(event).get();
        }
    }
}
