// SPDX-License-Identifier: Apache-2.0

package misdirected

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/typedstruct"
)

// Name is what filter chains usually call the filter. Envoy has no such filter.
const Name = "weir.filters.http.misdirected"

// Type is the type that a TypedStruct names to configure the filter.
const Type = "weir.dev.filters.http.Misdirected"

// settings are the fields of the configuration.
type settings struct {
	// Allow are further hosts for which a connection may be used, by its server
	// name. Both are names, or "*." and a name, which stands for all below it.
	Allow map[string][]string `field:"allow"`
	// AcceptCertificateNames takes requests for each name of the certificate that
	// the connection was opened with. The default is false.
	AcceptCertificateNames bool `field:"accept_certificate_names"`
}

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: typedstruct.New(Type), New: newFilter}
}

func newFilter(cfg proto.Message, c *extension.HTTP) (stream.Filter, error) {
	m, ok := cfg.(*xdstypev3.TypedStruct)
	if !ok {
		return nil, fmt.Errorf("%s: configuration is a %s, not a TypedStruct", Name, cfg.ProtoReflect().Descriptor().FullName())
	}
	var p settings
	if err := typedstruct.Decode(m, &p); err != nil {
		return nil, fmt.Errorf("typed_config: %w", err)
	}
	f := &Filter{certificate: p.AcceptCertificateNames, stats: stats.Register[Stats](c.Scope, len(c.Loops))}
	for _, sni := range slices.Sorted(maps.Keys(p.Allow)) {
		at := fmt.Sprintf("typed_config: value[\"allow\"][%q]", sni)
		from, err := compile(sni)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		a := allowed{server: from}
		for i, host := range p.Allow[sni] {
			to, err := compile(host)
			if err != nil {
				return nil, fmt.Errorf("%s[%d]: %w", at, i, err)
			}
			a.hosts = append(a.hosts, to)
		}
		if len(a.hosts) == 0 {
			return nil, fmt.Errorf("%s: the list is empty, which allows nothing: name hosts, or remove it", at)
		}
		f.allow = append(f.allow, a)
	}
	return f, nil
}

// compile reads a host's name, or "*." and one.
func compile(text string) (name, error) {
	n := name{text: strings.ToLower(text)}
	if rest, ok := strings.CutPrefix(n.text, "*."); ok {
		n.text, n.wild = "."+rest, true
	}
	if plain := strings.TrimPrefix(n.text, "."); plain == "" || n.text[0] == '.' != n.wild || strings.ContainsAny(plain, "*:/@ ") {
		return name{}, fmt.Errorf("%q is not the name of a host: write it without a port, as www.example.com or *.example.com", text)
	}
	return n, nil
}
