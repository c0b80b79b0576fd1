// SPDX-License-Identifier: Apache-2.0

package private_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir.dev/weir/test/kube/private"
)

// role is what a child of these tests does within its namespaces.
const role = "PRIVATE_TEST_ROLE"

func TestMain(m *testing.M) {
	switch what := os.Getenv(role); {
	case what == "":
		os.Exit(m.Run())
	case !private.Inside():
		status, err := private.Run(nil, nil)
		if err != nil {
			fmt.Println(err)
		}
		os.Exit(status)
	default:
		if err := private.Settle(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		within(what)
	}
}

// within starts a process that does not end by itself, and then does what the role says.
func within(what string) {
	cmd := exec.Command("sleep", "123456")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // As a program that hides from its terminal.
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	interfaces, err := net.Interfaces()
	fmt.Println("within", os.Getpid(), len(interfaces), err)
	switch what {
	case "panic":
		panic("as asked")
	case "status":
		os.Exit(7)
	}
	select {}
}

// TestNothingIsLeft ends a process with namespaces of its own in all the ways that a test may end.
func TestNothingIsLeft(t *testing.T) {
	if err := private.Possible(); err != nil {
		t.Skip(err)
	}
	for name, test := range map[string]struct {
		role   string
		signal os.Signal
		status int
	}{
		"status":    {"status", nil, 7},
		"panic":     {"panic", nil, 2},
		"interrupt": {"wait", os.Interrupt, 2},
		"terminate": {"wait", syscall.SIGTERM, 2},
		"kill":      {"wait", os.Kill, -1},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), role+"="+test.role)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// It is the first process, and sees no network but its own loopback.
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "within 1 1 <nil>\n" {
				t.Fatalf("within says %q, %v", line, err)
			}
			if test.signal != nil {
				if err := cmd.Process.Signal(test.signal); err != nil {
					t.Fatal(err)
				}
			}
			err = cmd.Wait()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != test.status {
				t.Errorf("it ends with %v, not with %d", err, test.status)
			}
			for end := time.After(10 * time.Second); ; {
				left, err := exec.CommandContext(t.Context(), "sh", "-c", `cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' '`).Output()
				if len(left) == 0 && err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(string(left), "sleep 123456") {
					return
				}
				select {
				case <-end:
					t.Fatal("what it started is there still")
				case <-time.After(10 * time.Millisecond):
				}
			}
		})
	}
}
