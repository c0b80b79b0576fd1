// SPDX-License-Identifier: Apache-2.0

// Package report prints problems of configuration for people, for programs (JSON),
// and for code hosts and editors (SARIF 2.1.0).
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"weir.dev/weir/xds"
)

// A Format is a way to print problems.
type Format string

// The formats.
const (
	Text  Format = "text"
	JSON  Format = "json"
	SARIF Format = "sarif"
)

// Formats are the names of all formats.
func Formats() []string { return []string{string(Text), string(JSON), string(SARIF)} }

// Write prints problems.
func Write(w io.Writer, f Format, problems []xds.Problem) error {
	switch f {
	case Text:
		for _, p := range problems {
			if _, err := fmt.Fprintln(w, p.Error()); err != nil {
				return err
			}
		}
		return nil
	case JSON:
		return Encode(w, Problems(problems))
	case SARIF:
		return Encode(w, sarifLog(problems))
	}
	return fmt.Errorf("--output %q is not known: there are %s", f, strings.Join(Formats(), ", "))
}

// Encode writes JSON for people, too.
func Encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// A Problem is how JSON has one.
type Problem struct {
	Severity string `json:"severity"`
	Kind     string `json:"kind,omitempty"`
	Name     string `json:"name,omitempty"`
	Path     string `json:"path,omitempty"`
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Reason   string `json:"reason"`
	Remedy   string `json:"remedy,omitempty"`
}

// Problems returns problems as JSON has them.
func Problems(problems []xds.Problem) []Problem {
	out := make([]Problem, 0, len(problems))
	for _, p := range problems {
		out = append(out, Problem{p.Severity.String(), string(p.Kind), p.Name, p.Path, p.File, p.Line, p.Column, p.Reason, p.Remedy})
	}
	return out
}

// The parts of SARIF that are used.
type (
	sarif struct {
		Schema  string `json:"$schema"`
		Version string `json:"version"`
		Runs    []run  `json:"runs"`
	}
	run struct {
		Tool    tool     `json:"tool"`
		Results []result `json:"results"`
	}
	tool struct {
		Driver driver `json:"driver"`
	}
	driver struct {
		Name           string `json:"name"`
		InformationURI string `json:"informationUri"`
		Rules          []rule `json:"rules"`
	}
	rule struct {
		ID string `json:"id"`
	}
	result struct {
		RuleID    string     `json:"ruleId"`
		Level     string     `json:"level"`
		Message   message    `json:"message"`
		Locations []location `json:"locations,omitempty"`
	}
	message struct {
		Text string `json:"text"`
	}
	location struct {
		Physical physical `json:"physicalLocation"`
	}
	physical struct {
		Artifact artifact `json:"artifactLocation"`
		Region   *region  `json:"region,omitempty"`
	}
	artifact struct {
		URI string `json:"uri"`
	}
	region struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

func sarifLog(problems []xds.Problem) sarif {
	r := run{Tool: tool{driver{Name: "weir check", InformationURI: "https://weir.dev"}}, Results: []result{}}
	for _, p := range problems {
		id := string(p.Kind)
		if id == "" {
			id = "file"
		}
		if !slices.Contains(r.Tool.Driver.Rules, rule{id}) {
			r.Tool.Driver.Rules = append(r.Tool.Driver.Rules, rule{id})
		}
		own := p
		own.File, own.Line, own.Severity = "", 0, xds.Error
		out := result{RuleID: id, Level: p.Severity.String(), Message: message{own.Error()}}
		if p.File != "" {
			at := physical{Artifact: artifact{p.File}}
			if p.Line > 0 {
				at.Region = &region{p.Line, p.Column}
			}
			out.Locations = []location{{at}}
		}
		r.Results = append(r.Results, out)
	}
	return sarif{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []run{r}}
}
