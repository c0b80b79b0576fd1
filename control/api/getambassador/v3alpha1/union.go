// SPDX-License-Identifier: Apache-2.0

package v3alpha1

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Strings is a list of texts, or one text, which is a list of one.
type Strings []string

// UnmarshalJSON reads either form.
func (s *Strings) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil && !bytes.Equal(data, []byte("null")) {
		*s = Strings{one}
		return nil
	}
	var list []string
	if err := json.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("%s is neither a text nor a list of texts", data)
	}
	*s = list
	return nil
}

// A Text is a text, or true, false or a number, which are texts in the versions after
// those that had them.
type Text struct {
	Value string
	// Bool is what stands there, if it is true or false.
	Bool *bool
}

// UnmarshalJSON reads any of the forms.
func (t *Text) UnmarshalJSON(data []byte) error {
	*t = Text{}
	if bytes.Equal(data, []byte("null")) {
		return nil
	}
	var b bool
	var n json.Number
	switch {
	case json.Unmarshal(data, &b) == nil:
		t.Bool = &b
	case json.Unmarshal(data, &t.Value) == nil:
	case json.Unmarshal(data, &n) == nil:
		t.Value = n.String()
	default:
		return fmt.Errorf("%s is neither a text nor true or false", data)
	}
	return nil
}

// MarshalJSON writes the form that was read.
func (t Text) MarshalJSON() ([]byte, error) {
	if t.Bool != nil {
		return json.Marshal(*t.Bool)
	}
	return json.Marshal(t.Value)
}

// String is the text, of true and false their words.
func (t Text) String() string {
	if t.Bool != nil {
		return fmt.Sprint(*t.Bool)
	}
	return t.Value
}

// Set reports whether there is anything.
func (t Text) Set() bool { return t.Bool != nil || t.Value != "" }

// An AddedValue is the value of a header that is added, in v2 also as a text alone.
type AddedValue struct {
	Value string `json:"value,omitempty"`
	// Append adds to those of the same name, the default, and does not replace them.
	Append *bool `json:"append,omitempty"`
	// V2Representation is for those who write v2 back. Nothing depends on it.
	V2Representation string `json:"v2Representation,omitempty"`
}

// UnmarshalJSON reads either form.
func (a *AddedValue) UnmarshalJSON(data []byte) error {
	var one Text
	if len(data) > 0 && data[0] != '{' {
		if err := one.UnmarshalJSON(data); err != nil {
			return err
		}
		*a = AddedValue{Value: one.String()}
		return nil
	}
	type plain AddedValue
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode((*plain)(a))
}
