# SPDX-License-Identifier: Apache-2.0
# needs: sqlite3
# timeout: 120
sqlite3 t.db 'pragma journal_mode=wal; create table t(a,b); with recursive c(x) as (select 1 union all select x+1 from c where x<20000) insert into t select x, x*x from c; select count(*), sum(b) from t; pragma integrity_check;'
# Two at once: the last to close the log locks the others out for a moment, outside as well.
sqlite3 -cmd '.timeout 10000' t.db 'select max(a) from t' & sqlite3 -cmd '.timeout 10000' t.db 'select min(a) from t' > second; wait; cat second
