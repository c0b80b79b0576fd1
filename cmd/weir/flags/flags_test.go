// SPDX-License-Identifier: Apache-2.0

package flags

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"weir.dev/weir/internal/logging"
)

func parse(args ...string) (*Proxy, error) {
	fs := pflag.NewFlagSet("weir proxy", pflag.ContinueOnError)
	fs.SetOutput(io.Discard)
	s := Add(fs)
	if err := fs.Parse(args); err != nil {
		return nil, Explain(fs, err)
	}
	return s.Proxy()
}

func defaults(change func(*Proxy)) *Proxy {
	p := &Proxy{
		ConfigPath: "edge.yaml", Mode: Serve, DrainTime: 600 * time.Second, DrainStrategy: Gradual,
		Log: logging.Options{Format: logging.DefaultFormat},
	}
	change(p)
	return p
}

func TestProxy(t *testing.T) {
	tests := []struct {
		name string
		args string
		want *Proxy
	}{
		{"short", "-c edge.yaml", defaults(func(*Proxy) {})},
		{"long", "--config-path edge.yaml", defaults(func(*Proxy) {})},
		{"stdin", "-c -", defaults(func(p *Proxy) { p.ConfigPath = "-" })},
		{"yaml alone", "--config-yaml node:", defaults(func(p *Proxy) { p.ConfigPath, p.ConfigYAML = "", "node:" })},
		{"validate", "-c edge.yaml --mode validate", defaults(func(p *Proxy) { p.Mode = Validate })},
		{"version needs no file", "--version", defaults(func(p *Proxy) { p.ConfigPath, p.ShowVersion = "", true })},
		{"no workers is one", "-c edge.yaml --concurrency 0", defaults(func(p *Proxy) { p.Concurrency = 1 })},
		{
			"all that is honoured",
			"-c edge.yaml --admin-address-path /run/admin -l warning --component-log-level upstream:debug,admin:off --log-format json " +
				"--log-path /var/log/weir.log --drain-time-s 45 --drain-strategy immediate --service-node n --service-cluster c --service-zone z --concurrency 2",
			defaults(func(p *Proxy) {
				p.AdminAddressPath, p.LogPath = "/run/admin", "/var/log/weir.log"
				p.Log = logging.Options{Format: "json", Level: logging.LevelWarning, Components: []logging.ComponentLevel{
					{Component: "upstream", Level: logging.LevelDebug}, {Component: "admin", Level: logging.LevelOff},
				}}
				p.DrainTime, p.DrainStrategy = 45*time.Second, Immediate
				p.ServiceNode, p.ServiceCluster, p.ServiceZone, p.Concurrency = "n", "c", "z", 2
			}),
		},
		{
			"a sidecar's arguments",
			"-c edge.yaml --restart-epoch 0 --drain-time-s 45 --local-address-ip-version v4 --file-flush-interval-msec 1000 " +
				"--disable-hot-restart --allow-unknown-static-fields --bootstrap-version 2",
			defaults(func(p *Proxy) {
				p.DrainTime = 45 * time.Second
				p.Notices = []string{
					"--disable-hot-restart has no effect: there is no hot restart; a new process binds the same ports beside the old one",
					"--allow-unknown-static-fields has no effect: unknown fields are always refused, with the nearest name that exists",
					"--file-flush-interval-msec has no effect: access log files are flushed in a rhythm of their own; see the guide on access logs",
					"--local-address-ip-version has no effect: the local address in headers and logs is always that of the connection itself",
					"--bootstrap-version has no effect: files of every version are read, and told apart by what is in them",
				}
			}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parse(strings.Fields(tt.args)...)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Now" }, cmp.Ignore())); d != "" {
				t.Errorf("wrong options (-want +got):\n%s", d)
			}
		})
	}
}

// TestSeparate takes a flag and its value in one argument, as Envoy does.
func TestSeparate(t *testing.T) {
	for args, want := range map[string]string{
		"--concurrency 4|--config-path /etc/envoy.json|--mode serve": "--concurrency|4|--config-path|/etc/envoy.json|--mode|serve",
		"-c /etc/envoy.json|-l  debug":                               "-c|/etc/envoy.json|-l|debug",
		"-c|a b.yaml|--config-yaml|node: {id: a}":                    "-c|a b.yaml|--config-yaml|node: {id: a}",
		"--log-format|-x %v|--nothing 4|--|-c x":                     "--log-format|-x %v|--nothing 4",
		"-c|a.yaml|--ignore_rest|--run-id|1":                         "-c|a.yaml",
		"--config-yaml=node: {}":                                     "--config-yaml=node: {}",
	} {
		if got := strings.Join(Separate(strings.Split(args, "|")), "|"); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	tests := []struct{ args, want string }{
		{"", "no configuration: give --config-path FILE"},
		{"-c f --mode init_only", "use validate"},
		{"-c f --mode check", "use serve or validate"},
		{"-c f -l loud", `--log-level: unknown log level "loud": use one of trace, debug`},
		{"-c f --component-log-level upstream", "write component:level"},
		{"-c f --log-format %Q", "unknown flag %Q"},
		{"-c f --drain-strategy slow", "use gradual or immediate"},
		{"-c f --drain-time-s -1", "invalid argument"},
		{"-c f --concurrency 40000", "at most 32767 workers"},
		{"-c f --restart-epoch 1", "send SIGTERM to the old process"},
		{"-c f --stats-tag a:b", "stats_config.stats_tags"},
		{"-c f --disable-extensions a/b", "take it out of the configuration"},
		{"--config-pth f", "did you mean --config-path?"},
		{"-c f --zzzzzz", "unknown flag: --zzzzzz"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			_, err := parse(strings.Fields(tt.args)...)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// TestEveryFlagOfEnvoyIsKnown holds the names that Envoy's command line takes, so that one that falls out of
// the tables is noticed.
func TestEveryFlagOfEnvoyIsKnown(t *testing.T) {
	fs := pflag.NewFlagSet("weir proxy", pflag.ContinueOnError)
	Add(fs)
	for name := range strings.FieldsSeq(`
		admin-address-path allow-unknown-fields allow-unknown-static-fields base-id base-id-path bootstrap-version
		component-log-level concurrency config-path config-yaml cpuset-threads disable-extensions disable-hot-restart
		drain-strategy drain-time-s enable-core-dump enable-fine-grain-logging enable-mutex-tracing
		file-flush-interval-msec file-flush-min-size-kb hot-restart-version ignore-unknown-dynamic-fields
		local-address-ip-version log-format log-format-escaped log-level log-path mode parent-shutdown-time-s
		reject-unknown-dynamic-fields restart-epoch service-cluster service-node service-zone skip-deprecated-logs
		skip-hot-restart-on-no-parent skip-hot-restart-parent-stats socket-mode socket-path stats-tag
		use-dynamic-base-id use-fake-symbol-table use-libevent-buffers v2-config-only version`) {
		if fs.Lookup(name) == nil {
			t.Errorf("--%s is not known", name)
		}
	}
	for _, h := range Hidden() {
		if !strings.HasPrefix(h, "--") || strings.Contains(h, "  no effect: ;") {
			t.Errorf("bad line %q", h)
		}
	}
}

func TestNotify(t *testing.T) {
	var out bytes.Buffer
	logs, err := logging.New(&out, logging.Options{Format: "%l %v"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := parse("-c", "f", "--base-id", "7")
	if err != nil {
		t.Fatal(err)
	}
	p.Notify(logs.Logger("main"))
	want := "warning --base-id has no effect: there is no hot restart; a new process binds the same ports beside the old one\n"
	if out.String() != want {
		t.Errorf("logged %q, want %q", out.String(), want)
	}
}
