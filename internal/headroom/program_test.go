// SPDX-License-Identifier: Apache-2.0

package headroom

import (
	"crypto/sha256"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// rssFile is how much of files is in memory for the process, in KiB.
func rssFile(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	m := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(status)
	if m == nil {
		t.Skip("the kernel does not tell RssFile")
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

func TestReleaseProgram(t *testing.T) {
	if len(programMaps()) < 2 {
		t.Fatal("the program is mapped as code and as data: want both found")
	}
	// To read what is mapped has it be in memory.
	memory, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Skip(err)
	}
	defer memory.Close()
	for _, m := range programMaps() {
		if _, err := memory.ReadAt(make([]byte, m.to-m.from), int64(m.from)); err != nil {
			t.Fatal(err)
		}
	}
	before, full := sha256.Sum256([]byte("the same")), rssFile(t)
	releaseProgram()
	left := rssFile(t)
	t.Logf("%d KiB are left of %d", left, full)
	if left >= full {
		t.Error("nothing was let go of")
	}
	if sha256.Sum256([]byte("the same")) != before {
		t.Error("what runs now is not what ran before")
	}
}

func TestFixed(t *testing.T) {
	if !fixed() {
		t.Error("the test runs where it was linked, and that is not seen")
	}
}
