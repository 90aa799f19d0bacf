package coordinator

import (
	"encoding/json"
	"fmt"

	"banyan/record"
	"banyan/versionstore"
)

// decodeDocument decodes the JSON of a stored document into v. The error wraps
// versionstore.ErrCorrupt if the document is damaged or no such JSON.
func decodeDocument(d versionstore.Document, v any) error {
	if d.Damaged != nil {
		return d.Damaged
	}
	if len(d.Raw) > versionstore.MaxDocument {
		return fmt.Errorf("%w: %s %q has %d bytes, the limit is %d",
			record.ErrTooLarge, d.Kind, d.Name, len(d.Raw), versionstore.MaxDocument)
	}
	if err := json.Unmarshal(d.Raw, v); err != nil {
		return fmt.Errorf("%w: %s %q: %w", versionstore.ErrCorrupt, d.Kind, d.Name, err)
	}
	return nil
}
