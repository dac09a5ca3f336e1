// AWS Event Ruler on the files of `filter_match write`: rules.tsv (an id and a pattern a line) and events.ndjson.
//
//   java -cp 'jars/*' Peer.java plain|expert FOLDER [SECONDS]
//
// plain: one Machine, fed with text. expert: one Machine for each team and event type, the event parsed once.
// Prints: engine, rules, events, matches, checksum of ids, nanoseconds an event (median of passes), seconds to build.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import software.amazon.event.ruler.Machine;

public class Peer {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        boolean expert = args[0].equals("expert");
        Path folder = Path.of(args[1]);
        double seconds = args.length > 2 ? Double.parseDouble(args[2]) : 6;
        List<String> events = Files.readAllLines(folder.resolve("events.ndjson"));
        List<String> rules = Files.readAllLines(folder.resolve("rules.tsv"));

        long began = System.nanoTime();
        Map<String, Machine> machines = new HashMap<>();
        for (String line : rules) {
            int tab = line.indexOf('\t');
            String id = line.substring(0, tab);
            String pattern = line.substring(tab + 1);
            String key = "";
            if (expert) {
                ObjectNode tree = (ObjectNode) JSON.readTree(pattern);
                key = tree.get("team").get(0).asText() + "|" + tree.get("type").get(0).asText();
                // The machine says the rest; a machine takes no empty rule, so the type stands for it.
                tree.remove("team");
                pattern = tree.toString();
            }
            machines.computeIfAbsent(key, k -> new Machine()).addRule(id, pattern);
        }
        double build = (System.nanoTime() - began) / 1e9;

        // What matches: a rule with several clauses counts once.
        long matches = 0;
        long checksum = 0;
        for (String event : events) {
            for (String id : new HashSet<>(match(machines, event, expert))) {
                matches++;
                checksum += mix(Long.parseLong(id));
            }
        }
        List<Double> passes = new ArrayList<>();
        long deadline = System.nanoTime() + (long) (seconds * 1e9);
        long sum = 0;
        int warm = 0;
        while (System.nanoTime() < deadline || passes.size() < 3) {
            long start = System.nanoTime();
            int timed = 0;
            for (String event : events) {
                sum += match(machines, event, expert).size();
                timed++;
                if (System.nanoTime() > deadline && timed >= 100) {
                    break;
                }
            }
            double each = (double) (System.nanoTime() - start) / timed;
            // The first third is for the compiler.
            if (warm++ > 0 || timed < events.size()) {
                passes.add(each);
            }
        }
        double[] sorted = passes.subList(passes.size() / 3, passes.size()).stream().mapToDouble(d -> d).sorted().toArray();
        System.out.printf(
            "event-ruler %s\t%d\t%d\t%d\t%016x\t%.0f\t%.2f%n",
            args[0], rules.size(), events.size(), matches, checksum, sorted[sorted.length / 2], build);
        if (sum == 0) {
            System.err.println("nothing matched");
        }
    }

    static List<String> match(Map<String, Machine> machines, String event, boolean expert) throws Exception {
        if (!expert) {
            return machines.get("").rulesForJSONEvent(event);
        }
        JsonNode tree = JSON.readTree(event);
        Machine machine = machines.get(tree.get("team").asText() + "|" + tree.get("type").asText());
        return machine == null ? List.of() : machine.rulesForJSONEvent(tree);
    }

    /** SplitMix64, as the other runners have it. */
    static long mix(long state) {
        long z = state + 0x9E3779B97F4A7C15L;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }
}
