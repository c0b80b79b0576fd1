// SPDX-License-Identifier: Apache-2.0

package fn

import (
	"errors"
	"fmt"
	"strings"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"

	"weir.dev/weir/proxy/extension"
	"weir.dev/weir/proxy/stats"
	"weir.dev/weir/proxy/stream"
	"weir.dev/weir/xds/typedstruct"
)

// Name is what filter chains usually call the filter. Envoy has no such filter.
const Name = "weir.filters.http.fn"

// Type is the type that a TypedStruct names to configure the filter.
const Type = "weir.dev.filters.http.Fn"

// settings are the fields of the configuration. Which of route, trigger and id is
// there says by which API of Fn's the function is called.
type settings struct {
	// App is the application of a route or a trigger.
	App string `field:"app"`
	// Route is a function's path in its application, for servers of 2018: /r/APP/ROUTE.
	Route string `field:"route"`
	// Trigger is the source of a function's HTTP trigger: /t/APP/SOURCE.
	Trigger string `field:"trigger"`
	// ID is a function's own: POST /invoke/ID.
	ID string `field:"id"`
	// Detached has the server answer 202 at once. The default is false.
	Detached bool `field:"detached"`
	// AppendPath has the rest of the request's path follow the route or the trigger's
	// source. The default is false, for Fn's server finds functions by the whole path.
	AppendPath bool `field:"append_path"`
	// Passthrough calls an ID with the request's own head, and returns what the server
	// answers as it is. The default is false: the function is told the HTTP request, and
	// says which response it wants.
	Passthrough bool `field:"passthrough"`
	// ClientAddress sets x-real-ip and x-forwarded-for to the client's address alone.
	// The default is false: they stay as the connection manager left them.
	ClientAddress bool `field:"client_address"`
	// MaxRequestBytes is the longest body that is sent; a longer one is answered 413. 0,
	// the default, leaves it to the server.
	MaxRequestBytes uint32 `field:"max_request_bytes"`
}

// Extension returns the filter's place in a registry.
func Extension() extension.HTTPFilter {
	return extension.HTTPFilter{Name: Name, Config: typedstruct.New(Type), New: newFilter, Place: extension.Upstream}
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
	path, err := p.path()
	if err != nil {
		return nil, fmt.Errorf("typed_config: %w", err)
	}
	return &Filter{
		slot: c.Slot, path: path, wraps: p.ID != "" && !p.Passthrough, detached: p.Detached, rest: p.AppendPath,
		byID: p.ID != "", address: p.ClientAddress, most: int64(p.MaxRequestBytes), log: c.Log("fn"),
		stats: stats.Register[Stats](c.Scope.Scope("fn."), len(c.Loops)),
	}, nil
}

// path returns where the function is called.
func (p *settings) path() (string, error) {
	said := 0
	for _, v := range []string{p.Route, p.Trigger, p.ID} {
		if v != "" {
			said++
		}
	}
	switch {
	case said != 1:
		return "", errors.New("value: which function? Set exactly one of route, trigger and id")
	case p.ID != "":
		return p.invoke()
	case p.App == "":
		return "", errors.New(`value["app"]: missing: a route or a trigger is one of an application`)
	case p.Passthrough:
		return "", errors.New(`value["passthrough"]: only functions that are called by id can be told nothing of the HTTP request: remove it`)
	case p.Detached && p.Route != "":
		return "", errors.New(`value["detached"]: servers of 2018 call a route asynchronously if it is of type async: say so there, and remove it here`)
	}
	if err := names("app", p.App, ""); err != nil {
		return "", err
	}
	prefix, key, source := "/t/", "trigger", p.Trigger
	if p.Route != "" {
		prefix, key, source = "/r/", "route", p.Route
	}
	if err := names(key, source, "/"); err != nil {
		return "", err
	}
	return prefix + p.App + "/" + strings.Trim(source, "/"), nil
}

// invoke returns where a function is called by its ID.
func (p *settings) invoke() (string, error) {
	switch {
	case p.App != "":
		return "", errors.New(`value["app"]: an id is of one function in all applications: remove it`)
	case p.AppendPath:
		return "", errors.New(`value["append_path"]: a function that is called by id sees the whole path in Fn-Http-Request-Url: remove it`)
	}
	if err := names("id", p.ID, ""); err != nil {
		return "", err
	}
	return "/invoke/" + p.ID, nil
}

// names holds that a value of a field can stand in a path: letters, digits, - . _ ~ and
// what more has, without segments that lead elsewhere.
func names(field, value, more string) error {
	for i := range len(value) {
		switch c := value[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~"+more, c) >= 0:
		default:
			return fmt.Errorf("value[%q]: %q has a character at byte %d that no name of Fn's has", field, value, i)
		}
	}
	if strays([]byte("/"+value)) || strings.Contains(value, "//") {
		return fmt.Errorf("value[%q]: %q has a segment that is empty, or . or ..: write the path that it comes to", field, value)
	}
	return nil
}
