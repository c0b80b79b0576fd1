// SPDX-License-Identifier: Apache-2.0

package v2

import (
	"slices"
	"strings"
	"testing"

	udpaannotations "github.com/cncf/xds/go/udpa/annotations"
	_ "github.com/envoyproxy/go-control-plane/envoy/api/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/fault/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/http/buffer/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/http/dynamic_forward_proxy/v2alpha"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/http/fault/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/http/gzip/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/http/health_check/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/http/jwt_authn/v2alpha"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/http/rbac/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/http/router/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/network/http_connection_manager/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/network/redis_proxy/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/network/tcp_proxy/v2"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/filter/network/thrift_proxy/v2alpha1"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/gzip/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/redis_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/thrift_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// known finds descriptors of all that is linked here, both versions.
func known(name protoreflect.FullName) (protoreflect.MessageDescriptor, bool) {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(name)
	if err != nil {
		return nil, false
	}
	return mt.Descriptor(), true
}

// pairs yields the messages of v2 and v3 that are linked here.
func pairs(yield func(old, now protoreflect.MessageDescriptor) bool) {
	types := Types()
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range types {
			if !yield(name) {
				return
			}
		}
	}) {
		old, ok := known(protoreflect.FullName(name))
		if !ok {
			continue
		}
		if now, ok := known(protoreflect.FullName(types[name])); ok && !yield(old, now) {
			return
		}
	}
}

// TestEveryFieldOfV2IsKnown compares the messages of both versions: a field that v3
// does not have, under that name and with messages of the same kind, has a rule.
func TestEveryFieldOfV2IsKnown(t *testing.T) {
	all := rules()
	has := func(name protoreflect.FullName, field string) bool {
		m, ok := all[name]
		return ok && (slices.ContainsFunc(m.fields, func(r rule) bool { return r.old == field }) ||
			m.extension != nil && field == "config")
	}
	types, seen := Types(), 0
	pairs(func(old, now protoreflect.MessageDescriptor) bool {
		seen++
		for i := range old.Fields().Len() {
			f := old.Fields().Get(i)
			if has(now.FullName(), string(f.Name())) {
				continue
			}
			g := now.Fields().ByName(f.Name())
			switch {
			case g == nil:
				t.Errorf("%s.%s: not in %s, and no rule for it", old.FullName(), f.Name(), now.FullName())
			case f.Kind() != g.Kind() || f.Cardinality() != g.Cardinality():
				t.Errorf("%s.%s: %v %v became %v %v", old.FullName(), f.Name(), f.Cardinality(), f.Kind(), g.Cardinality(), g.Kind())
			case f.Enum() != nil:
				enumsAgree(t, f.Enum(), g.Enum())
			case f.Message() != nil && !f.IsMap() && f.Message().FullName() != g.Message().FullName() &&
				types[string(f.Message().FullName())] != string(g.Message().FullName()):
				t.Errorf("%s.%s: is of %s, which did not become %s", old.FullName(), f.Name(), f.Message().FullName(), g.Message().FullName())
			}
		}
		return true
	})
	if seen < 150 {
		t.Errorf("only %d messages are linked in", seen)
	}
}

func enumsAgree(t *testing.T, old, now protoreflect.EnumDescriptor) {
	t.Helper()
	for i := range old.Values().Len() {
		v := old.Values().Get(i).Name()
		if now.Values().ByName(v) == nil && v != "UNSUPPORTED_REST_LEGACY" &&
			!slices.ContainsFunc(values[now.FullName()], func(x value) bool { return x.old == string(v) }) {
			t.Errorf("%s: %s is not a value of %s, and not renamed", old.FullName(), v, now.FullName())
		}
	}
}

// TestTypesAreThoseOfEnvoy compares the table with what the messages of v3 say of
// where they come from.
func TestTypesAreThoseOfEnvoy(t *testing.T) {
	types, seen := Types(), 0
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		md := mt.Descriptor()
		v, ok := proto.GetExtension(md.Options(), udpaannotations.E_Versioning).(*udpaannotations.VersioningAnnotation)
		if !ok || v.GetPreviousMessageType() == "" || strings.Contains(v.GetPreviousMessageType(), ".v3.") {
			return true
		}
		seen++
		if now := types[v.GetPreviousMessageType()]; now != string(md.FullName()) {
			t.Errorf("%s became %s, and the table says %q", v.GetPreviousMessageType(), md.FullName(), now)
		}
		return true
	})
	if seen < 150 {
		t.Errorf("only %d messages tell where they come from", seen)
	}
}

// TestRulesNameWhatThereIs holds the rules to the descriptors of v3: each is for a
// message that there is, and leads to a field that there is.
func TestRulesNameWhatThereIs(t *testing.T) {
	for name, m := range rules() {
		md, ok := known(name)
		if !ok {
			if !slices.Contains(slices.Collect(func(yield func(string) bool) {
				for _, now := range Types() {
					if !yield(now) {
						return
					}
				}
			}), string(name)) {
				t.Errorf("%s is no message", name)
			}
			continue
		}
		for _, r := range m.fields {
			field, _, _ := strings.Cut(r.now, ".")
			field, _, _ = strings.Cut(field, ":")
			field, _, _ = strings.Cut(field, ",")
			if field != "" && field != nowhere && md.Fields().ByName(protoreflect.Name(field)) == nil {
				t.Errorf("%s: %s became %s, which there is not", name, r.old, r.now)
			}
			if r.when == nil && md.Fields().ByName(protoreflect.Name(r.old)) != nil {
				t.Errorf("%s: v3 has %s, too", name, r.old)
			}
			if r.why == "" {
				t.Errorf("%s: %s changes without a reason", name, r.old)
			}
		}
	}
}
