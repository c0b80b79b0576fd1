// SPDX-License-Identifier: Apache-2.0

package extension

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"weir.dev/weir/xds/ledger"
)

// A Plugin is an extension that is made from its configuration alone: part of a retry
// or redirect policy, a resource monitor.
type Plugin[T any] struct {
	// Name is Envoy's canonical name.
	Name string
	// Config is an empty message of the type that configures it.
	Config proto.Message
	// Fields is what becomes of the message's fields; nil for a TypedStruct, which is read
	// field by field.
	Fields *ledger.Ledger
	// New compiles one use of it.
	New func(cfg proto.Message) (T, error)
}

// Plugins are all of one kind.
type Plugins[T any] []Plugin[T]

// CompileAny is Compile for who does not know of T.
func (l Plugins[T]) CompileAny(name string, cfg *anypb.Any) (any, error) { return l.Compile(name, cfg) }

// Compile makes a T of what a policy says: the plugin is found by the type of the
// configuration or, if there is none, by its name.
func (l Plugins[T]) Compile(name string, cfg *anypb.Any) (v T, err error) {
	var known []string
	for i := range l {
		p := &l[i]
		known = append(known, p.Name)
		m, ok, err := Decode(cfg, p.Config)
		if err != nil {
			return v, err
		}
		if cfg == nil && name == p.Name {
			m, ok = p.Config.ProtoReflect().New().Interface(), true
		}
		if !ok {
			continue
		}
		if p.Fields != nil {
			if err := p.Fields.Apply(m, "typed_config", nil); err != nil {
				return v, err
			}
		}
		if v, err = p.New(m); err != nil {
			return v, fmt.Errorf("typed_config.%w", err)
		}
		return v, nil
	}
	if cfg != nil {
		name = Name(cfg)
	}
	return v, fmt.Errorf("extension %q is not known: use %s", name, strings.Join(known, ", "))
}
