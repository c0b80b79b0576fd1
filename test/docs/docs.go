// SPDX-License-Identifier: Apache-2.0

// Package docs runs what the documentation shows. In README.md, docs/, and the README of each extension and
// example:
//
//   - a block "```yaml bootstrap" is loaded by "weir proxy --mode validate", which must accept it; a block
//     "```yaml bootstrap refused" must be refused, and the "```text" block after it is what is said;
//   - in the README of an extension, a block "```yaml" is a fragment, which is completed first;
//   - in a block "```console", each line "$ curl ..." is sent to the quickstart (in an example's README: to the
//     example), each line "$ weir ..." is run, and what stands below it is compared with what comes. A line
//     "..." stands for any lines, and "..." within a line for any text. Other commands ("$ make ...") are for
//     readers;
//   - links to files of this repository must lead somewhere.
//
// The machinery is here; its tests, and the test of the documents themselves, are beside it.
package docs

import (
	"fmt"
	"regexp"
	"strings"
)

// A Block is one fenced block of a Markdown document.
type Block struct {
	File string
	Line int      // of its first line of content
	Info []string // the words after the fence
	Text string
}

// Is tells whether the block's info string begins with these words.
func (b Block) Is(words ...string) bool {
	if len(b.Info) < len(words) {
		return false
	}
	for i, w := range words {
		if b.Info[i] != w {
			return false
		}
	}
	return true
}

// Blocks returns the fenced blocks of a document. It errs if one is not closed, since all that follows would
// then not be looked at.
func Blocks(file, text string) ([]Block, error) {
	var out []Block
	fence, indent := "", ""
	var open Block
	var lines []string
	for n, line := range strings.Split(text, "\n") {
		trimmed := strings.TrimLeft(line, " ")
		switch {
		case fence == "" && strings.HasPrefix(trimmed, "```"):
			ticks := len(trimmed) - len(strings.TrimLeft(trimmed, "`"))
			fence, indent, lines = trimmed[:ticks], line[:len(line)-len(trimmed)], nil
			open = Block{File: file, Line: n + 2, Info: strings.Fields(trimmed[ticks:])}
		case fence != "" && strings.TrimRight(trimmed, " ") == fence:
			open.Text = strings.Join(lines, "\n")
			if len(lines) > 0 {
				open.Text += "\n"
			}
			out = append(out, open)
			fence = ""
		case fence != "":
			lines = append(lines, strings.TrimPrefix(line, indent))
		}
	}
	if fence != "" {
		return nil, fmt.Errorf("%s:%d: a fenced block is not closed", file, open.Line-1)
	}
	return out, nil
}

// A Step is a command of a console block and what is shown to come of it.
type Step struct {
	Line    int
	Command string
	Output  string
}

// Steps returns the commands of a console block: lines that begin with "$ ", continued where they end in a
// backslash.
func Steps(b Block) []Step {
	var out []Step
	more := false
	for n, line := range strings.Split(strings.TrimSuffix(b.Text, "\n"), "\n") {
		command, starts := strings.CutPrefix(line, "$ ")
		switch {
		case more:
			last := &out[len(out)-1]
			last.Command = strings.TrimSuffix(last.Command, "\\") + strings.TrimLeft(line, " ")
			more = strings.HasSuffix(line, "\\")
		case starts:
			out = append(out, Step{Line: b.Line + n, Command: command})
			more = strings.HasSuffix(command, "\\")
		case len(out) > 0:
			out[len(out)-1].Output += line + "\n"
		}
	}
	return out
}

// Matches compares output with what a document shows: "..." alone on a line stands for any number of lines,
// and within a line for any text. Blanks at the ends of lines, and empty lines at the end, do not count.
func Matches(shown, got string) bool {
	var pattern strings.Builder
	pattern.WriteString(`(?s)^`)
	for _, line := range clean(shown) {
		if line == "..." {
			pattern.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		for i, part := range strings.Split(line, "...") {
			if i > 0 {
				pattern.WriteString(`[^\n]*?`)
			}
			pattern.WriteString(regexp.QuoteMeta(part))
		}
		pattern.WriteString(`\n`)
	}
	pattern.WriteString(`$`)
	var text strings.Builder
	for _, line := range clean(got) {
		text.WriteString(line + "\n")
	}
	return regexp.MustCompile(pattern.String()).MatchString(text.String())
}

// clean splits text into lines without blanks at their ends and without empty lines at its end.
func clean(text string) []string {
	lines := strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " \t")
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// Links returns the targets of a document's links that are files of this repository, without fragments.
func Links(text string) []string {
	var out []string
	code := false
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(strings.TrimLeft(line, " "), "```") {
			code = !code
		}
		if code {
			continue
		}
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(line, -1) {
			target, _, _ := strings.Cut(m[1], "#")
			if target != "" && !strings.Contains(target, "://") && !strings.HasPrefix(target, "mailto:") {
				out = append(out, target)
			}
		}
	}
	return out
}
