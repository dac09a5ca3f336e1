// AWS Event Ruler on the files of `filter_match write`: rules.tsv (an id and a pattern a line) and events.ndjson.
//
//   java -cp 'jars/*' Peer.java plain|sorted|expert FOLDER [SECONDS]
//
// plain: one Machine, fed with text. sorted: the same with team and type under names that sort first, since a Machine walks fields in
// the order of their names. expert: one Machine for each team and event type, the event parsed once.
// Prints what the other runners print: see `line` at the foot.

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
        String setUp = args[0];
        boolean expert = setUp.equals("expert");
        Path folder = Path.of(args[1]);
        double seconds = args.length > 2 ? Double.parseDouble(args[2]) : 6;
        List<String> events = Files.readAllLines(folder.resolve("events.ndjson"));
        List<String> rules = Files.readAllLines(folder.resolve("rules.tsv"));
        if (setUp.equals("sorted")) {
            events.replaceAll(Peer::sorted);
            rules.replaceAll(line -> {
                int tab = line.indexOf('\t');
                return line.substring(0, tab + 1) + sorted(line.substring(tab + 1));
            });
        }

        long before = used();
        long began = System.nanoTime();
        Map<String, Machine> machines = new HashMap<>();
        for (String line : rules) {
            int tab = line.indexOf('\t');
            String id = line.substring(0, tab);
            String pattern = line.substring(tab + 1);
            String key = "";
            if (expert) {
                ObjectNode tree = (ObjectNode) JSON.readTree(pattern);
                key = tree.remove("team").get(0).asText() + "|";
                JsonNode type = tree.remove("type");
                key += type.get(0).asText();
                // The machine says both; but a machine takes no empty rule.
                if (tree.isEmpty()) {
                    tree.set("type", type);
                }
                pattern = tree.toString();
            }
            machines.computeIfAbsent(key, k -> new Machine()).addRule(id, pattern);
        }
        double build = (System.nanoTime() - began) / 1e9;
        long memory = used() - before;

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
            if (warm++ > 0 || timed < events.size()) {
                passes.add(each);
            }
        }
        // The first third is for the compiler.
        double[] sorted = passes.subList(passes.size() / 3, passes.size()).stream().mapToDouble(d -> d).sorted().toArray();
        long[] single = new long[Math.min(events.size(), Math.max(100, (int) (seconds * 1e9 / sorted[0])))];
        for (int i = 0; i < single.length; i++) {
            long start = System.nanoTime();
            sum += match(machines, events.get(i), expert).size();
            single[i] = System.nanoTime() - start;
        }
        Arrays.sort(single);
        line("Event Ruler 2.1.0, " + setUp, rules.size(), events.size(), matches, checksum, sorted[sorted.length / 2],
            single[single.length / 2], single[single.length * 99 / 100], build, memory / rules.size());
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

    static String sorted(String text) {
        try {
            ObjectNode tree = (ObjectNode) JSON.readTree(text);
            ObjectNode renamed = JSON.createObjectNode();
            renamed.set("0team", tree.remove("team"));
            renamed.set("0type", tree.remove("type"));
            renamed.setAll(tree);
            return renamed.toString();
        } catch (java.io.IOException e) {
            throw new IllegalArgumentException(text, e);
        }
    }

    /** Bytes of the heap that something refers to. */
    static long used() {
        Runtime runtime = Runtime.getRuntime();
        for (int i = 0; i < 2; i++) {
            System.gc();
        }
        return runtime.totalMemory() - runtime.freeMemory();
    }

    /** SplitMix64, as the other runners have it. */
    static long mix(long state) {
        long z = state + 0x9E3779B97F4A7C15L;
        z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
        z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
        return z ^ (z >>> 31);
    }

    /** Times of an event in nanoseconds: the median of passes, then of single events. */
    static void line(String engine, int rules, int events, long matches, long checksum, double pass, long p50, long p99,
            double build, long bytesOfRule) {
        System.out.printf("%s\t%d\t%d\t%d\t%016x\t%.0f\t%d\t%d\t%.2f\t%d%n",
            engine, rules, events, matches, checksum, pass, p50, p99, build, bytesOfRule);
    }
}
