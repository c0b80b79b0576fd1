// SPDX-License-Identifier: Apache-2.0

package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"

	"weir.dev/weir/proxy/match"
)

// A Config says where and how the endpoints are served.
type Config struct {
	// Network is "tcp" or "unix"; Address is ip:port (port 0 takes a free one) or the socket's path, a leading @ making it
	// abstract. Empty are "tcp" and "127.0.0.1:0".
	Network, Address string
	// SocketMode is the permission bits of a unix socket's file; 0 leaves them to the umask.
	SocketMode uint32
	// AccessLogs are the files to which a line is written for each request, in Envoy's default format.
	AccessLogs []string
	// ProfilePath is where profiles are written; empty is /var/log/envoy/envoy.prof, as in Envoy.
	ProfilePath string
	// AllowPaths, if there are any, are the paths that may be asked for.
	AllowPaths []func(path string) bool
	// AllowHosts are names, in lower case, that a request to a loopback address may have as Host besides localhost.
	AllowHosts []string
}

func (c Config) profilePath() string { return cmp.Or(c.ProfilePath, "/var/log/envoy/envoy.prof") }

// ParseConfig reads the admin field of an Envoy bootstrap (envoy.config.bootstrap.v3.Admin). It is false, without an error,
// if no address is given: as in Envoy there is then no admin listener. fields.txt says what becomes of each field.
func ParseConfig(p *bootstrapv3.Admin) (Config, bool, error) {
	var c Config
	for i, l := range p.GetAccessLog() {
		path, err := logPath(l)
		if err != nil {
			return c, false, fmt.Errorf("admin.access_log[%d]: %w", i, err)
		}
		c.AccessLogs = append(c.AccessLogs, path)
	}
	if f := accessLogPath(p); f != "" {
		c.AccessLogs = append(c.AccessLogs, f)
	}
	c.ProfilePath = p.GetProfilePath()
	for i, m := range p.GetAllowPaths() {
		f, err := match.CompileString(m)
		if err != nil {
			return c, false, fmt.Errorf("admin.allow_paths[%d]: %w", i, err)
		}
		c.AllowPaths = append(c.AllowPaths, f.Match)
	}
	if len(p.GetSocketOptions()) > 0 {
		return c, false, errors.New("admin.socket_options: is not supported; leave it out")
	}
	if p.GetAddress() == nil {
		return c, false, nil
	}
	if err := c.parseAddress(p.GetAddress()); err != nil {
		return c, false, fmt.Errorf("admin.address.%w", err)
	}
	return c, true, nil
}

// accessLogPath is the deprecated field, which many files still use.
func accessLogPath(p *bootstrapv3.Admin) string {
	fd := p.ProtoReflect().Descriptor().Fields().ByName("access_log_path")
	return p.ProtoReflect().Get(fd).String()
}

// logPath reads one access_log; filters and formats need the data plane's formatter, which a request here does not pass.
func logPath(l *accesslogv3.AccessLog) (string, error) {
	var f filev3.FileAccessLog
	if !l.GetTypedConfig().MessageIs(&f) {
		return "", fmt.Errorf("typed_config: %q is not supported here; use envoy.extensions.access_loggers.file.v3.FileAccessLog", l.GetTypedConfig().GetTypeUrl())
	}
	if l.GetFilter() != nil {
		return "", errors.New("filter: is not supported here; leave it out")
	}
	if err := l.GetTypedConfig().UnmarshalTo(&f); err != nil {
		return "", fmt.Errorf("typed_config: %w", err)
	}
	if f.GetAccessLogFormat() != nil {
		return "", errors.New("typed_config: a format is not supported here; leave it out for Envoy's default format")
	}
	if f.GetPath() == "" {
		return "", errors.New("typed_config.path: is empty; give the file to write to")
	}
	return f.GetPath(), nil
}

func (c *Config) parseAddress(a *corev3.Address) error {
	if pipe := a.GetPipe(); pipe != nil {
		if pipe.GetPath() == "" {
			return errors.New("pipe.path: is empty; give the socket's path")
		}
		if pipe.GetMode() > 0o777 {
			return fmt.Errorf("pipe.mode: %#o is above 0777", pipe.GetMode())
		}
		c.Network, c.Address, c.SocketMode = "unix", pipe.GetPath(), pipe.GetMode()
		return nil
	}
	s := a.GetSocketAddress()
	switch {
	case s == nil:
		return errors.New("address: must be a socket_address or a pipe")
	case s.GetProtocol() != corev3.SocketAddress_TCP:
		return fmt.Errorf("socket_address.protocol: %s is not supported; use TCP", s.GetProtocol())
	case s.GetNamedPort() != "":
		return errors.New("socket_address.named_port: is not supported; use port_value")
	case s.GetResolverName() != "":
		return errors.New("socket_address.resolver_name: is not supported; give an IP address")
	case s.GetPortValue() > 65535:
		return fmt.Errorf("socket_address.port_value: %d is above 65535", s.GetPortValue())
	case net.ParseIP(s.GetAddress()) == nil:
		return fmt.Errorf("socket_address.address: %q is not an IP address", s.GetAddress())
	}
	c.Network, c.Address = "tcp", net.JoinHostPort(s.GetAddress(), strconv.Itoa(int(s.GetPortValue())))
	return nil
}
