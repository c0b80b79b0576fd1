// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
	"k8s.io/apimachinery/pkg/runtime"

	"weir.dev/weir/cmd/weir/report"
	"weir.dev/weir/control/source"
	"weir.dev/weir/control/status"
	"weir.dev/weir/xds"
	"weir.dev/weir/xds/brief"
)

// Brief writes what selectors choose for people: of each object its status, its problems with their places, and what
// it came to. Without selectors, it writes all that have a status, and how much there is of what they came to.
func Brief(w io.Writer, p *Picture, selectors []Selector) error {
	b := &strings.Builder{}
	items := p.Select(selectors)
	for _, i := range items {
		i.brief(b, len(selectors) > 0)
	}
	b.WriteString(brief.Snapshot(Only(p.Resources, selectors)))
	for _, l := range p.Loose {
		fmt.Fprintln(b, l.Error())
	}
	if len(selectors) == 0 {
		r := p.Resources
		fmt.Fprintf(b, "In Envoy's terms: %s, %s, %s, %s.\n", count(r.Listeners().Len(), "listener"), count(r.Routes().Len(), "route configuration"),
			count(r.Clusters().Len(), "cluster"), count(r.Endpoints().Len(), "set of endpoints", "sets of endpoints"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func count(n int, one string, many ...string) string {
	if n == 1 {
		return "1 " + one
	}
	if len(many) == 0 {
		many = []string{one + "s"}
	}
	return fmt.Sprintf("%d %s", n, many[0])
}

func (i *Item) brief(b *strings.Builder, full bool) {
	text := ""
	if i.Status != nil {
		text = status.Brief(i.Status)
	}
	if text == "" {
		text = i.Key.String() + "\n"
	}
	b.WriteString(text)
	if i.Unwritten {
		b.WriteString("  its status is not written yet: this is what it would be\n")
	}
	for _, p := range i.Problems {
		if p.File == "" && strings.Contains(text, p.Reason) {
			continue // The status has said it.
		}
		p.Kind, p.Name = "", "" // It stands above.
		fmt.Fprintf(b, "  wrong: %s\n", p.Error())
	}
	if !full {
		return
	}
	for line := range strings.Lines(brief.Snapshot(i.Became())) {
		b.WriteString("  | " + line)
	}
}

// shown is an Item as programs read it.
type shown struct {
	Kind      string                       `json:"kind"`
	Namespace string                       `json:"namespace,omitempty"`
	Name      string                       `json:"name"`
	File      string                       `json:"file,omitempty"`
	Line      int                          `json:"line,omitempty"`
	Object    map[string]any               `json:"object,omitempty"`
	Problems  []report.Problem             `json:"problems,omitempty"`
	Envoy     map[string][]json.RawMessage `json:"envoy,omitempty"`
}

type document struct {
	Items    []shown                      `json:"items"`
	Envoy    map[string][]json.RawMessage `json:"envoy,omitempty"`
	Problems []report.Problem             `json:"problems,omitempty"`
}

// JSON writes what selectors choose for programs: the objects with their statuses, their problems, and the messages
// that they came to.
func JSON(w io.Writer, p *Picture, selectors []Selector) error {
	doc := document{Items: []shown{}, Problems: report.Problems(p.Loose)}
	for _, i := range p.Select(selectors) {
		s, err := i.shown()
		if err != nil {
			return err
		}
		doc.Items = append(doc.Items, s)
	}
	var err error
	if doc.Envoy, err = report.Messages(Only(p.Resources, selectors)); err != nil {
		return err
	}
	return report.Encode(w, doc)
}

// YAML is JSON in YAML.
func YAML(w io.Writer, p *Picture, selectors []Selector) error {
	var data bytes.Buffer
	if err := JSON(&data, p, selectors); err != nil {
		return err
	}
	var doc any // Not the struct: what is within it is JSON already.
	if err := yaml.Unmarshal(data.Bytes(), &doc); err != nil {
		return err
	}
	out, err := yaml.Marshal(doc)
	if err != nil {
		return err
	}
	_, err = w.Write(out)
	return err
}

func (i *Item) shown() (shown, error) {
	out := shown{Kind: i.Key.Kind.Kind, Namespace: i.Key.Namespace, Name: i.Key.Name.Name, File: i.Place.File, Line: i.Place.Line, Problems: report.Problems(i.Problems)}
	var err error
	if out.Envoy, err = report.Messages(i.Became()); err != nil || i.Object == nil || i.Key.Kind == source.Secret {
		return out, err // What is secret stays where it is.
	}
	if out.Object, err = runtime.DefaultUnstructuredConverter.ToUnstructured(i.Object); err != nil {
		return out, fmt.Errorf("%s: %w", i.Key, err)
	}
	delete(out.Object, "status")
	if i.Status != nil && i.Status.Status != nil {
		if out.Object["status"], err = runtime.DefaultUnstructuredConverter.ToUnstructured(i.Status.Status); err != nil {
			return out, fmt.Errorf("status of %s: %w", i.Key, err)
		}
	}
	return out, nil
}

// HasErrors reports whether anything is wrong with what selectors choose.
func HasErrors(p *Picture, selectors []Selector) bool {
	for _, i := range p.Select(selectors) {
		if xds.HasErrors(i.Problems) {
			return true
		}
	}
	return xds.HasErrors(p.Loose)
}
