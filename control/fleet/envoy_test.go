// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/control"
	"weir.dev/weir/control/controltest"
	"weir.dev/weir/control/emit"
	"weir.dev/weir/internal/golden"
	"weir.dev/weir/xds"
)

// private returns the types within a message that are not of Envoy's API, nor of what that is
// made from.
func private(t *testing.T, m proto.Message) (out []string, seen int) {
	t.Helper()
	err := protorange.Range(m.ProtoReflect(), func(p protopath.Values) error {
		msg, ok := p.Index(-1).Value.Interface().(protoreflect.Message)
		if !ok {
			return nil
		}
		url := ""
		switch x := msg.Interface().(type) {
		case *anypb.Any:
			url = x.GetTypeUrl()
		case *xdstypev3.TypedStruct:
			url = x.GetTypeUrl()
		default:
			return nil
		}
		seen++
		_, name, _ := strings.Cut(url, "/")
		switch root, _, _ := strings.Cut(name, "."); root {
		case "envoy", "google", "xds", "udpa":
		default:
			out = append(out, url)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, seen
}

// What the Gateway API's objects come to is what Envoy takes: no type of ours is on the wire
// to who does not ask for virtual hosts by themselves, as Envoy does not. A Function, which
// is a kind of ours, needs Weir's proxy, and so do the error_response_overrides of Emissary,
// which had an Envoy of its own for them.
func TestEnvoyTakesIt(t *testing.T) {
	files, err := filepath.Glob("../dialect/*/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	all := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changes, _ := controltest.Parse(t, golden.Parse(string(text)))
		w := controltest.NewWorld(t, control.Options{})
		w.Apply(changes...)
		var resources []*emit.Resources
		for _, name := range w.Gateways() {
			if r := w.Resources(name); r != nil {
				resources = append(resources, r)
			}
		}
		var ours []string
		for _, c := range xds.Changes(nil, xds.Whole(emit.Snapshot(nil, "1", resources), nil, nil)) {
			more, n := private(t, c.Message)
			ours, all = append(ours, more...), all+n
		}
		if needs := filepath.Base(file) == "functions.txtar" || bytes.Contains(text, []byte("error_response_overrides")); needs != (len(ours) > 0) {
			t.Errorf("%s: types of ours are %v", file, ours)
		}
	}
	if all == 0 {
		t.Error("nothing was looked at")
	}
}
