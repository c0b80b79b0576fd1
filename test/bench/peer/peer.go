// SPDX-License-Identifier: Apache-2.0

// Package peer knows the proxies that are compared: how each is configured to do the same work (keep-alive to the
// backend, X-Forwarded-For, a random X-Request-Id, one core, room for 20,000 connections), and how each is started.
package peer

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// A Mode is what a proxy carries.
type Mode int

// The modes. HTTP takes HTTP/1.1 (over TLS, ALPN may choose HTTP/2) and speaks HTTP/1.1 to the backend; HTTP2 takes
// HTTP/2 and speaks HTTP/1.1; GRPC is HTTP/2 on both sides; WebSocket is HTTP with upgrades. TCP and UDP carry bytes.
const (
	HTTP Mode = iota
	HTTP2
	GRPC
	WebSocket
	TCP
	UDP
)

// A Setup is what a proxy is configured for.
type Setup struct {
	Mode Mode
	// TLS terminates TLS 1.3 with Cert: X25519, AES-128-GCM, and neither tickets nor a session cache, so that each
	// handshake is a full one.
	TLS             bool
	Cert            Certificate
	Listen, Backend netip.AddrPort
	// Dir is an empty directory for the configuration, pid files and logs.
	Dir string
	// Hosts is the number of virtual hosts h00000.bench.test …, Routes the number of routes /r/00000/ … in each.
	// 0 means one that takes everything.
	Hosts, Routes int
	// AccessLog writes one line per request to Dir/access.log.
	AccessLog bool
	// Splice lets HAProxy splice bodies; the others have no such choice.
	Splice bool
}

// LogFile is where the access log goes.
func (s Setup) LogFile() string { return filepath.Join(s.Dir, "access.log") }

// Host and Route are the names of virtual host i and the path prefix of route i.
func Host(i int) string  { return fmt.Sprintf("h%05d.bench.test", i) }
func Route(i int) string { return fmt.Sprintf("/r/%05d/", i) }

// A Proxy is one of the programs compared.
type Proxy struct {
	Name string
	// Program is the name or path of its binary, Package Debian's name for its package, "" if it has none.
	Program, Package string
	// Modules are further packages that some modes need, by a file that tells that they are installed.
	Modules map[string]string
	version []string
	config  func(Setup) (string, error)
	file    string
	args    func(Setup, string) []string
	// logsToStdout says that its access log is what it prints.
	logsToStdout bool
}

// All lists the proxies; weir is the path of Weir's binary.
func All(weir string) []Proxy {
	return []Proxy{
		{
			Name: "weir", Program: weir, version: []string{"version"}, config: weirConfig, file: "weir.yaml",
			args: func(_ Setup, f string) []string { return []string{"proxy", "-c", f, "--concurrency", "1"} },
		},
		{
			Name: "nginx", Program: "nginx", Package: "nginx", version: []string{"-v"}, config: nginxConfig, file: "nginx.conf",
			Modules: map[string]string{nginxStream: "libnginx-mod-stream"},
			args: func(s Setup, f string) []string {
				return []string{"-p", s.Dir, "-e", filepath.Join(s.Dir, "error.log"), "-c", f}
			},
		},
		{
			Name: "haproxy", Program: "haproxy", Package: "haproxy", version: []string{"-v"}, config: haproxyConfig,
			file: "haproxy.cfg", logsToStdout: true,
			args: func(_ Setup, f string) []string { return []string{"-db", "-f", f} },
		},
		{
			Name: "caddy", Program: "caddy", Package: "caddy", version: []string{"version"}, config: caddyConfig, file: "caddy.json",
			args: func(_ Setup, f string) []string { return []string{"run", "--config", f} },
		},
	}
}

// Path finds the binary; Debian's administrator directories count even if PATH lacks them.
func (p Proxy) Path() (string, error) {
	path, err := exec.LookPath(p.Program)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, p.Program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find %s: %w", p.Name, err)
}

var versionPattern = regexp.MustCompile(`\d+\.\d+[^\s,]*`)

// Version asks the program for its version: the first thing it prints that looks like one, or else its first line.
func (p Proxy) Version() (string, error) {
	path, err := p.Path()
	if err != nil {
		return "", err
	}
	out, err := exec.Command(path, p.version...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", p.Name, err)
	}
	if v := versionPattern.Find(out); v != nil {
		return string(v), nil
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line, nil
}

// Command writes the configuration into s.Dir and returns the command that runs it in the foreground. Standard output
// and error go to files there, which the caller closes after the start.
func (p Proxy) Command(s Setup) (*exec.Cmd, error) {
	path, err := p.Path()
	if err != nil {
		return nil, err
	}
	text, err := p.config(s)
	if err != nil {
		return nil, fmt.Errorf("configure %s: %w", p.Name, err)
	}
	if s.TLS {
		if err := s.writeCert(); err != nil {
			return nil, fmt.Errorf("configure %s: %w", p.Name, err)
		}
	}
	file := filepath.Join(s.Dir, p.file)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return nil, fmt.Errorf("configure %s: %w", p.Name, err)
	}
	cmd := exec.Command(path, p.args(s, file)...)
	cmd.Dir = s.Dir
	// Caddy keeps state in the user's home; a benchmark should leave nothing there.
	cmd.Env = append(os.Environ(), "HOME="+s.Dir, "XDG_DATA_HOME="+s.Dir, "XDG_CONFIG_HOME="+s.Dir)
	if s.TLS {
		cmd.Env = append(cmd.Env, "OPENSSL_CONF="+s.opensslFile())
	}
	out := filepath.Join(s.Dir, "output")
	stderr, err := os.Create(out)
	if err != nil {
		return nil, fmt.Errorf("open output of %s: %w", p.Name, err)
	}
	cmd.Stdout, cmd.Stderr = stderr, stderr
	if p.logsToStdout && s.AccessLog {
		log, err := os.Create(s.LogFile())
		if err != nil {
			stderr.Close()
			return nil, fmt.Errorf("open access log of %s: %w", p.Name, err)
		}
		cmd.Stdout = log
	}
	return cmd, nil
}
