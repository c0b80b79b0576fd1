// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"weir.dev/weir/internal/leak"
)

// asWeir makes the test binary behave as the command, for tests of whole processes.
const asWeir = "WEIR_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asWeir) != "" {
		main()
		return
	}
	leak.Main(m)
}

// run executes a command line in this process.
func run(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = execute(args, strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

func TestVersion(t *testing.T) {
	status, out, errs := run("version")
	if status != 0 || errs != "" || !regexp.MustCompile(`^weir \S+( commit \S+)? go\S+ linux/\S+\n$`).MatchString(out) {
		t.Errorf("status %d, stdout %q, stderr %q", status, out, errs)
	}
}

// TestArguments has a program that is called envoy be weir proxy.
func TestArguments(t *testing.T) {
	for line, want := range map[string]string{
		"/usr/local/bin/weir|version":              "version",
		"weir":                                     "",
		"weir|proxy|--concurrency 2|-c|a":          "proxy|--concurrency|2|-c|a",
		"weir|get|--output json":                   "get|--output json",
		"/usr/local/bin/envoy|-c /etc/a.json|-l|x": "proxy|-c|/etc/a.json|-l|x",
		"envoy": "proxy",
	} {
		if got := strings.Join(arguments(strings.Split(line, "|")), "|"); got != want {
			t.Errorf("%s: got %s, want %s", line, got, want)
		}
	}
}

func TestVersionLine(t *testing.T) {
	info := &debug.BuildInfo{
		Main:     debug.Module{Version: "v0.1.0"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "abc"}, {Key: "vcs.modified", Value: "true"}},
	}
	if got := versionLine(info, true); !strings.HasPrefix(got, "weir v0.1.0 commit abc+changes go1.") {
		t.Errorf("got %q", got)
	}
	run := &debug.BuildInfo{Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}}}
	for _, got := range []string{versionLine(nil, false), versionLine(run, true)} {
		if !strings.HasPrefix(got, "weir devel go1.") {
			t.Errorf("got %q", got)
		}
	}
}

func TestRefused(t *testing.T) {
	tests := []struct{ args, want string }{
		{"vresion", "weir: unknown command \"vresion\" for \"weir\"\n\nDid you mean this?\n\tversion\n"},
		{"echo --adress :1", "weir: unknown flag: --adress: did you mean --address?\n"},
		{"version now", "weir: unknown command \"now\" for \"weir version\"\n"},
		{"echo --address nowhere", "weir: echo"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			status, out, errs := run(strings.Fields(tt.args)...)
			if status != 1 || out != "" || !strings.HasPrefix(errs, tt.want) {
				t.Errorf("status %d, stdout %q, stderr %q, want %q", status, out, errs, tt.want)
			}
		})
	}
}

// TestHelp holds every command to a help text with an example that begins with the command itself.
func TestHelp(t *testing.T) {
	root := newRoot()
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c == root || c.HasSubCommands() || !c.Runnable() {
			return
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q: want a phrase without a period", c.CommandPath(), c.Short)
		}
		if !strings.HasPrefix(c.Example, "  "+c.CommandPath()) {
			t.Errorf("%s: the example %q does not show the command", c.CommandPath(), c.Example)
		}
	}
	visit(root)
	status, out, _ := run("help", "echo")
	if status != 0 || !strings.Contains(out, "x-echo-set-header") {
		t.Errorf("status %d, help:\n%s", status, out)
	}
	status, out, _ = run("help", "envoy-flags")
	if status != 0 || !strings.Contains(out, "\n--base-id                          no effect: there is no hot restart") {
		t.Errorf("status %d, help:\n%s", status, out)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if status, out, errs := run("completion", shell); status != 0 || !strings.Contains(out, "weir") {
			t.Errorf("%s: status %d, stderr %q", shell, status, errs)
		}
	}
	if status, _, errs := run("completion", "tcsh"); status != 1 || !strings.Contains(errs, `invalid argument "tcsh"`) {
		t.Errorf("tcsh: status %d, stderr %q", status, errs)
	}
	// The last line is what the shell is told to do beside: 0 files, 4 nothing, 8 files of these endings.
	tests := []struct{ words, want string }{
		{"ec", "echo\tRun the demo backend: it answers each request with what it saw, as JSON\n:4\n"},
		{"completion ", "bash\nzsh\nfish\n:4\n"},
		{"proxy --mode ", "serve\nvalidate\n:4\n"},
		{"proxy -c ", "yaml\nyml\njson\n:8\n"},
		{"run --drain-strategy ", "gradual\nimmediate\n:4\n"},
		{"run --concurrency ", ":4\n"},
		{"run ", ":0\n"},
		{"version ", ":4\n"},
	}
	for _, tt := range tests {
		if _, out, _ := run(append([]string{"__complete"}, strings.Split(tt.words, " ")...)...); out != tt.want {
			t.Errorf("completing %q gave %q, want %q", tt.words, out, tt.want)
		}
	}
	// A flag that is new needs somebody to say what it takes.
	root := newRoot()
	for _, name := range []string{"proxy", "run"} {
		cmd, _, err := root.Find([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if _, known := cmd.GetFlagCompletionFunc(f.Name); !known && !f.Hidden && f.Value.Type() != "bool" {
				t.Errorf("weir %s: nobody completes --%s", name, f.Name)
			}
		})
	}
}

func TestEchoName(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("POD_NAME", "")
	got := []string{echoName("given"), echoName("")}
	t.Setenv("POD_NAME", "orders-7d4")
	got = append(got, echoName("given"), echoName(""))
	if d := cmp.Diff([]string{"given", host, "given", "orders-7d4"}, got); d != "" {
		t.Errorf("wrong names (-want +got):\n%s", d)
	}
}

// TestEchoProcess starts the command as a process: it answers, then SIGTERM ends it with status 0.
func TestEchoProcess(t *testing.T) {
	cmd := exec.Command(os.Args[0], "echo", "--address", "127.0.0.1:0", "--name", "orders")
	cmd.Env = append(os.Environ(), asWeir+"=1")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // For a test that failed early.
	lines := bufio.NewReader(log)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`\[info\]\[main\] echo listens name=orders address=(\S+)\n$`).FindStringSubmatch(first)
	if m == nil {
		t.Fatalf("first line is %q", first)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(fmt.Sprintf("http://%s/?status=201", m[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 201 {
		t.Errorf("answered %d, want 201", resp.StatusCode)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	if !strings.Contains(string(rest), "draining") || !strings.HasSuffix(string(rest), "[info][main] stopped\n") {
		t.Errorf("log after SIGTERM:\n%s", rest)
	}
}
