# SPDX-License-Identifier: Apache-2.0
# needs: perl
perl -e 'use POSIX; my %h=map{$_=>$_**2}1..5; print join(",",map{"$_=$h{$_}"}sort keys %h),"\n"; my $pid=fork(); if(!$pid){exit 6} waitpid($pid,0); print $?>>8,"\n"; open(my $p,"-|","seq 3"); print while <$p>; local $SIG{ALRM}=sub{print "alarm\n"}; alarm 1; sleep 3; printf "%s\n", strftime("%Y",gmtime(0));'
