package main

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"banyan/internal/embeddb"
	"banyan/versionstore"
)

func newStore(a *app) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "store",
		Short: "Mend or clean the store of a coordinator",
	})
	cmd.AddCommand(newStoreRecover(a), newStoreTerm(a), newStoreAcceptLoss(a), newStoreCollect(a))
	return cmd
}

func newStoreAcceptLoss(a *app) *cobra.Command {
	var dataDir string
	cmd := &cobra.Command{
		Use:   "accept-loss",
		Short: "Go on without acknowledged writes that the store has lost",
		Long: `Go on without acknowledged writes that the store has lost.

A coordinator whose store lacks acknowledged writes does not start. Try 'banyan store
recover' or a backup first. This command makes the store start without the lost writes, and
copies the damaged logs to DATA-DIR/store/lost-TIME first. The coordinator must not run.`,
		Example: `  banyan store accept-loss --data-dir /var/lib/banyan`,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			saved, err := versionstore.AcceptLoss(filepath.Join(dataDir, "store"), embeddb.Options{})
			if err != nil {
				return err
			}
			out := struct {
				Saved string `json:"saved"`
			}{saved}
			return a.print(out, func(w io.Writer) {
				fmt.Fprintf(w, "the store starts again, without the lost writes; copies of its logs are in %s\n", saved)
			})
		},
	}
	cmd.Flags().StringVar(&dataDir, "data-dir", "banyan-data", "`DIR` of the coordinator")
	return cmd
}
