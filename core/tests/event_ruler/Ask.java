// Asks Event Ruler: a line "P<tab>pattern" is answered with "ok" or "refused", a line "E<tab>event" with whether the last
// pattern matches it. A machine of its own for each pattern, so that none can depend on another.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.Machine;

public class Ask {
    public static void main(String[] arguments) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 20);
        PrintStream answers = new PrintStream(new java.io.BufferedOutputStream(System.out, 1 << 20), false, "UTF-8");
        Machine machine = null;
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String text = line.substring(2);
            if (line.charAt(0) == 'P') {
                try {
                    machine = new Machine();
                    machine.addRule("rule", text);
                    answers.println("ok");
                } catch (Exception refused) {
                    machine = null;
                    answers.println("refused");
                }
            } else if (machine == null) {
                answers.println("refused");
            } else {
                answers.println(machine.rulesForJSONEvent(text).isEmpty() ? "false" : "true");
            }
        }
        answers.flush();
    }
}
