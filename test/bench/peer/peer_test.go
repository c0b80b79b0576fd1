// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"
)

// setups are the configurations that the scenarios use.
func setups(t *testing.T) map[string]Setup {
	t.Helper()
	base := Setup{
		Listen:  netip.MustParseAddrPort("127.0.0.1:18080"),
		Backend: netip.MustParseAddrPort("127.0.0.1:18081"),
	}
	out := make(map[string]Setup)
	for name, change := range map[string]func(*Setup){
		"plain":  func(*Setup) {},
		"log":    func(s *Setup) { s.AccessLog = true },
		"hosts":  func(s *Setup) { s.Hosts = 50 },
		"routes": func(s *Setup) { s.Routes = 50 },
		"splice": func(s *Setup) { s.Splice = true },
	} {
		s := base
		s.Dir = t.TempDir()
		change(&s)
		out[name] = s
	}
	return out
}

func TestWeirConfigIsAValidBootstrap(t *testing.T) {
	for name, s := range setups(t) {
		t.Run(name, func(t *testing.T) {
			text, err := weirConfig(s)
			if err != nil {
				t.Fatal(err)
			}
			var tree any
			if err := yaml.Unmarshal([]byte(text), &tree); err != nil {
				t.Fatal(err)
			}
			js, err := json.Marshal(tree)
			if err != nil {
				t.Fatal(err)
			}
			var boot bootstrapv3.Bootstrap
			if err := protojson.Unmarshal(js, &boot); err != nil {
				t.Fatal(err)
			}
			if err := boot.ValidateAll(); err != nil {
				t.Fatal(err)
			}
			filter := boot.GetStaticResources().GetListeners()[0].GetFilterChains()[0].GetFilters()[0]
			var hcm hcmv3.HttpConnectionManager
			if err := filter.GetTypedConfig().UnmarshalTo(&hcm); err != nil {
				t.Fatal(err)
			}
			if err := hcm.ValidateAll(); err != nil {
				t.Fatal(err)
			}
			hosts := hcm.GetRouteConfig().GetVirtualHosts()
			if len(hosts) != max(s.Hosts, 1) || len(hosts[0].GetRoutes()) != max(s.Routes, 1) {
				t.Errorf("%d hosts with %d routes", len(hosts), len(hosts[0].GetRoutes()))
			}
			if got := len(hcm.GetAccessLog()); (got == 1) != s.AccessLog {
				t.Errorf("%d access logs", got)
			}
		})
	}
}

func TestConfigsDoTheSameWork(t *testing.T) {
	for name, s := range setups(t) {
		for _, p := range All("weir")[1:] {
			text, err := p.config(s)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{s.Listen.String(), s.Backend.String(), "X-Request-I"} {
				if !strings.Contains(text, want) {
					t.Errorf("%s, %s: no %q", p.Name, name, want)
				}
			}
			logs := map[string]string{"nginx": s.LogFile(), "haproxy": "httplog", "caddy": s.LogFile()}[p.Name]
			if strings.Contains(text, logs) != s.AccessLog {
				t.Errorf("%s, %s: access log where none is wanted, or none", p.Name, name)
			}
		}
	}
}

// TestProgramsAcceptTheirConfig asks each program that is installed.
func TestProgramsAcceptTheirConfig(t *testing.T) {
	check := map[string][]string{"nginx": {"-t"}, "haproxy": {"-c"}, "caddy": nil}
	for _, p := range All("weir")[1:] {
		path, err := p.Path()
		if err != nil {
			t.Logf("%s is not installed", p.Name)
			continue
		}
		for name, s := range setups(t) {
			cmd, err := p.Command(s)
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout.(*os.File).Close()
			cmd.Stderr.(*os.File).Close()
			args := append(check[p.Name], cmd.Args[1:]...)
			if p.Name == "caddy" {
				args = []string{"validate", "--config", filepath.Join(s.Dir, "caddy.json")}
			}
			run := exec.Command(path, args...)
			run.Env, run.Dir = cmd.Env, cmd.Dir
			if out, err := run.CombinedOutput(); err != nil {
				t.Errorf("%s refuses %s: %v\n%s", p.Name, name, err, out)
			}
		}
	}
}
