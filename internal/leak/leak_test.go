// SPDX-License-Identifier: Apache-2.0

package leak_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"weir.dev/weir/internal/leak"
)

// TestMain runs this package's own tests under Main. In the child process started by TestMainNamesTheLeak
// one test leaves a goroutine behind on purpose.
func TestMain(m *testing.M) { leak.Main(m) }

const childVariable = "WEIR_LEAK_TEST_CHILD"

func TestLeaveOneBehind(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		t.Skip("runs only in the child process of TestMainNamesTheLeak")
	}
	go leftBehind(make(chan struct{}))
}

func leftBehind(forever chan struct{}) { <-forever }

func TestMainNamesTheLeak(t *testing.T) {
	if os.Getenv(childVariable) != "" {
		t.Skip("the child runs only TestLeaveOneBehind")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLeaveOneBehind$")
	cmd.Env = append(os.Environ(), childVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("a package that leaks a goroutine passed:\n%s", out)
	}
	if !strings.Contains(string(out), "leftBehind") {
		t.Errorf("the leaked goroutine is not named in:\n%s", out)
	}
}

func TestCheckPassesWhenAllEnded(t *testing.T) {
	leak.Check(t)
	done := make(chan struct{})
	go close(done)
	<-done
}
