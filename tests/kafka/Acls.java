import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Locale;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * Grants rights: what kafka-acls.sh does, for many at once.
 *
 * <p>Argument: the bootstrap address. A line of standard input is PRINCIPAL OPERATION TYPE NAME PATTERN.
 */
public class Acls {
    public static void main(String[] arguments) throws Exception {
        var rights = new ArrayList<AclBinding>();
        for (var line : new BufferedReader(new InputStreamReader(System.in)).lines().toList()) {
            var words = line.split(" ");
            var pattern = new ResourcePattern(
                    ResourceType.fromString(words[2]), words[3], PatternType.valueOf(words[4].toUpperCase(Locale.ROOT)));
            var entry = new AccessControlEntry(
                    words[0], "*", AclOperation.fromString(words[1]), AclPermissionType.ALLOW);
            rights.add(new AclBinding(pattern, entry));
        }
        try (var admin = Admin.create(Map.<String, Object>of("bootstrap.servers", arguments[0]))) {
            admin.createAcls(rights).all().get();
        }
    }
}
