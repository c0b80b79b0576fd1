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
	before := sha256.Sum256([]byte("the same"))
	for _, m := range programMaps() {
		t.Logf("%#x to %#x", m.from, m.to)
	}
	if len(programMaps()) < 2 {
		t.Error("the program is mapped as code and as data: want both found")
	}
	full := rssFile(t)
	releaseProgram()
	if left := rssFile(t); left > full*3/4 {
		t.Errorf("%d KiB are left of %d", left, full)
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
