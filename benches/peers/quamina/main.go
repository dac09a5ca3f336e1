// Quamina on the files of `filter_match write`. It knows no ranges, so it takes part where no rule has one.
//
//	go run . FOLDER [SECONDS]
//
// Prints what the other runners print: engine, rules, events, matches, checksum of ids, nanoseconds an event (the median of passes; p50 and
// p99 of single events), seconds to build, bytes a rule.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"time"

	"quamina.net/go/quamina/v2"
)

func lines(path string) []string {
	file, err := os.Open(path)
	check(err)
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<20), 1<<26)
	var all []string
	for scanner.Scan() {
		all = append(all, scanner.Text())
	}
	check(scanner.Err())
	return all
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// SplitMix64, as the other runners have it.
func mix(state uint64) uint64 {
	z := state + 0x9E3779B97F4A7C15
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// Bytes of the heap that something refers to.
func used() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func main() {
	folder, seconds := os.Args[1], 6.0
	if len(os.Args) > 2 {
		seconds, _ = strconv.ParseFloat(os.Args[2], 64)
	}
	events, rules := lines(folder+"/events.ndjson"), lines(folder+"/rules.tsv")
	before, began := used(), time.Now()
	matcher, err := quamina.New()
	check(err)
	for _, line := range rules {
		id, pattern, _ := strings.Cut(line, "\t")
		check(matcher.AddPattern(id, pattern))
	}
	build := time.Since(began).Seconds()
	memory := used() - before
	matches, checksum := 0, uint64(0)
	for _, event := range events {
		found, err := matcher.MatchesForEvent([]byte(event))
		check(err)
		// A rule with several clauses counts once.
		seen := map[any]bool{}
		for _, id := range found {
			if !seen[id] {
				seen[id] = true
				matches++
				number, _ := strconv.ParseUint(id.(string), 10, 64)
				checksum += mix(number)
			}
		}
	}
	var passes []float64
	deadline := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for time.Now().Before(deadline) || len(passes) < 3 {
		start, timed := time.Now(), 0
		for _, event := range events {
			_, err := matcher.MatchesForEvent([]byte(event))
			check(err)
			timed++
			if timed >= 100 && time.Now().After(deadline) {
				break
			}
		}
		passes = append(passes, float64(time.Since(start).Nanoseconds())/float64(timed))
	}
	sort.Float64s(passes)
	pass := passes[len(passes)/2]
	var single []float64
	for _, event := range events[:min(len(events), max(100, int(seconds*1e9/pass)))] {
		start := time.Now()
		_, err := matcher.MatchesForEvent([]byte(event))
		check(err)
		single = append(single, float64(time.Since(start).Nanoseconds()))
	}
	sort.Float64s(single)
	fmt.Printf("Quamina 2.0.2\t%d\t%d\t%d\t%016x\t%.0f\t%.0f\t%.0f\t%.2f\t%d\n",
		len(rules), len(events), matches, checksum, pass, single[len(single)/2], single[len(single)*99/100], build,
		memory/uint64(len(rules)))
	runtime.KeepAlive(matcher)
}
